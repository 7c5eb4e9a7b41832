// `locum-fuzz TARGET [options of libFuzzer] [CORPUS… | FILE…]`: feeds one parser. Without arguments it lists the
// targets with their longest input, for Tests/Fuzz/run.py.
import CFuzzer
import FuzzTargets
import Glibc
import Kernels

guard let name = CommandLine.arguments.dropFirst().first else {
    for target in FuzzTarget.all { print(target.name, target.longest) }
    exit(0)
}
guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
    let message = Array("locum-fuzz: there is no target \(name); without arguments the targets are listed\n".utf8)
    _ = write(2, message, message.count)
    exit(64)
}
Kernels.initialize()
// libFuzzer calls a C function, which captures nothing.
let body = target.body
let code = locum_fuzz(CommandLine.argc - 1, CommandLine.unsafeArgv + 1) { data, count in
    body(Array(UnsafeBufferPointer(start: data, count: count)))
    return 0
}
exit(code)
