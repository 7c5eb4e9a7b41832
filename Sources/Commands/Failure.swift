// How a command fails: one sentence on standard error and an exit code that scripts can rely on.
import ArgumentParser
import ControlClient
import Glibc
import Link

/// The exit codes of `locum`.
enum Code {
    static let failed: Int32 = 1
    static let notFound: Int32 = 3
    static let unreachable: Int32 = 4
}

/// Runs a command's body and turns every error into a message and its exit code.
func reporting(_ body: () throws -> Void) throws {
    do {
        try body()
    } catch let exit as ExitCode {
        throw exit
    } catch let error as ControlError {
        complain(error.message)
        switch error.kind {
        case .unreachable: throw ExitCode(Code.unreachable)
        case .notFound: throw ExitCode(Code.notFound)
        case .failed: throw ExitCode(Code.failed)
        }
    } catch let error as InvokeError {
        complain(error.message)
        throw ExitCode(error.code == "not_found" ? Code.notFound : Code.failed)
    } catch let error as ValidationError {
        throw error
    } catch {
        complain("\(error)")
        throw ExitCode(Code.failed)
    }
}

/// Writes `locum: …` to standard error.
func complain(_ text: String) {
    write(text: "locum: \(text)\n", to: STDERR_FILENO)
}

/// Writes at once and whole, so that a stream appears as it comes; a closed pipe ends the program quietly.
func write(text: String, to descriptor: Int32 = STDOUT_FILENO) {
    write(bytes: Array(text.utf8), to: descriptor)
}

func write(bytes: [UInt8], to descriptor: Int32 = STDOUT_FILENO) {
    var rest = bytes[...]
    while !rest.isEmpty {
        let n = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if n < 0 {
            if errno == EINTR { continue }
            if errno == EPIPE { exit(0) }
            exit(Code.failed)
        }
        rest = rest.dropFirst(n)
    }
}
