// A development tool: writes test models. Not installed.
import ArgumentParser
import TestModel

TestModelCommand.main()
