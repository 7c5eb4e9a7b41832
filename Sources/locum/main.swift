import ArgumentParser
import Commands

Locum.main()
