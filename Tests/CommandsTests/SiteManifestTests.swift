// Manifests of `locum apply`: what they say, everything that is wrong with them, and how they differ from what is there.
import FunctionModel
import Settings
import Testing
import Wire

@testable import Commands

@Suite("A site's manifest")
struct SiteManifestTests {
    private func parse(_ text: String) throws -> SiteManifest {
        try SiteManifest(try YAML.parse(Array(text.utf8), name: "site.yaml"), name: "site.yaml")
    }

    private func problems(_ text: String) -> [String] {
        do {
            _ = try parse(text)
            return []
        } catch let error as SettingsError {
            return error.problems
        } catch {
            return ["\(error)"]
        }
    }

    @Test("Models and tenants are read with all that they can have")
    func whole() throws {
        let manifest = try parse(
            """
            models:
              - name: big
                file: models/big.gguf
                experts-per-function: 4
                layers-per-function: all
                quantize: q8_0
                context: 4096
                chat-template: big.jinja
                kv-type: q8_0
              - {name: tales, file: tales-moe}
              - {name: tales, file: tales-moe, tenant: ada}
            tenants:
              - name: ada
                weight: 3
                priority: batch
                max-requests: 2
                queue: 0
                tokens-per-minute: 6000
                models: [big, tales]
              - name: bob
                max-requests: unlimited
                tokens-per-minute: ~
                models: all
            """)
        #expect(
            manifest.models == [
                .init(
                    options: DeployOptions(
                        name: "big", expertsPerFunction: 4, layersPerFunction: 0, quantize: "q8_0", context: 4096,
                        kvType: "q8_0"), file: "models/big.gguf", chatTemplate: "big.jinja", line: 2),
                .init(options: DeployOptions(name: "tales"), file: "tales-moe", line: 10),
                .init(options: DeployOptions(name: "tales@ada"), file: "tales-moe", line: 11),
            ])
        #expect(manifest.models.map(\.owner) == [nil, nil, "ada"])
        #expect(
            manifest.tenants == [
                .init(
                    name: "ada",
                    limits: TenantLimits(
                        weight: 3, priority: .batch, maxRequests: 2, queue: 0, tokensPerMinute: 6000,
                        models: ["big", "tales"]), line: 13),
                .init(name: "bob", limits: TenantLimits(), line: 20),
            ])
    }

    @Test("A tenant's user and shares are read as on the command line")
    func shares() throws {
        let manifest = try parse(
            "tenants:\n  - {name: ada, uid: 1001, disk: 2G, memory: 512M, kv-memory: 64M}\n  - {name: bob, uid: none, disk: unlimited}"
        )
        #expect(
            manifest.tenants[0].limits == TenantLimits(uid: 1001, disk: 2 << 30, memory: 512 << 20, kvMemory: 64 << 20))
        #expect(manifest.tenants[1].limits == TenantLimits())
        let found = problems("tenants:\n  - {name: ada, uid: root, disk: much, memory: 0}")
        #expect(
            found == [
                "site.yaml:2: tenants[0].uid: 'root' cannot be used; write a number from 1 to 4294967294, or none",
                "site.yaml:2: tenants[0].disk: 'much' cannot be used; write a size like 20G, or unlimited",
                "site.yaml:2: tenants[0].memory: '0' cannot be used; write a size like 20G, or unlimited",
            ])
    }

    @Test("Everything that is wrong is said at once, with line and field")
    func allProblems() {
        let found = problems(
            """
            modles: []
            models:
              - name: Big
                file: [a]
                experts: 4
              - name: tales
                file: tales-moe
                context: 0
                kv-type: f64
              - file: x.gguf
              - name: tales
                file: y.gguf
              - name: tales
                file: z.gguf
            tenants:
              - name: ada
                weight: 0
                priority: urgent
                max-requests: many
                weight: 1
                models: [Big, tales]
              - just text
              - name: bob
                quota: 5
                models: tales
            """)
        let expected = [
            "site.yaml:1: modles: there is no such section; there are models and tenants",
            "site.yaml:3: models[0].name: 'Big' does not fit: a name begins with a-z or 0-9",
            "site.yaml:4: models[0].file: must be one value",
            "site.yaml:5: models[0].experts: there is no such field; there are name, file, chat-template, tenant, experts-per-function",
            "site.yaml:8: models[1].context: '0' cannot be used; write a number of tokens, at least 1",
            "site.yaml:9: models[1].kv-type: 'f64' cannot be used; write f16, q8_0 or f32",
            "site.yaml:10: models[2]: its name is missing",
            "site.yaml:17: tenants[0].weight: '0' cannot be used; write a number from 1 to 1000",
            "site.yaml:18: tenants[0].priority: 'urgent' cannot be used; write interactive or batch",
            "site.yaml:19: tenants[0].max-requests: 'many' cannot be used; write a number from 1 to 1024, or unlimited",
            "site.yaml:20: tenants[0].weight: stands in line 17 already",
            "site.yaml:21: tenants[0].models[0]: 'Big' is no model's name",
            "site.yaml:22: tenants[1]: must be a mapping of names to values",
            "site.yaml:24: tenants[2].quota: there is no such field; there are name, weight, priority",
            "site.yaml:25: tenants[2].models: must be all, or a list of",
            "site.yaml:13: name: the model tales stands in line 11 already",
        ]
        for line in expected {
            #expect(found.contains { $0.hasPrefix(line) }, "\(line)\n\(found.joined(separator: "\n"))")
        }
        #expect(found.count == expected.count, "\(found.joined(separator: "\n"))")
    }

    @Test(
        "What says nothing, or is no manifest, is refused",
        arguments: [
            ("", "is empty; name models or tenants"), ("# only this\n", "is empty; name models or tenants"),
            ("models: []\n", "names neither models nor tenants"), ("models:\ntenants: ~\n", "names neither"),
            ("- a\n", "site.yaml:1: the manifest: must be a mapping"),
            ("models: tales\n", ":1: models: must be a list"),
            ("models: {name: a}\n", ":1: models: must be a list"), ("models:\n  - &a [*a]\n", "models[0]: must be"),
            ("x: &a [1]\nmodels: *a\n", "models: is an alias (*)"), ("models: [\n", "this is no YAML"),
            ("tenants: [{name: a}, {name: a}]\n", ":1: name: the tenant a stands in line 1 already"),
        ])
    func nothing(text: String, reason: String) {
        #expect(problems(text).contains { $0.contains(reason) }, "\(problems(text))")
    }

    @Test("A tenant's difference names what is different, and none is none")
    func tenants() throws {
        let wanted = try parse("tenants: [{name: ada, weight: 3, models: [a, b]}]\n").tenants[0]
        #expect(SiteChange(wanted, there: nil)?.line == "+ tenant ada: weight 3, models [a, b]\n")
        #expect(
            SiteChange(wanted, there: TenantLimits(queue: 1))?.line
                == "~ tenant ada: weight 1 -> 3, queue 1 -> 64, models all -> [a, b]\n")
        #expect(SiteChange(wanted, there: TenantLimits(weight: 3, models: ["a", "b"])) == nil)
        let plain = try parse("tenants: [{name: bob}]\n").tenants[0]
        #expect(SiteChange(plain, there: nil)?.line == "+ tenant bob\n")
        #expect(
            SiteChange(plain, there: TenantLimits(maxRequests: 1, tokensPerMinute: 5))?.line
                == "~ tenant bob: max-requests 1 -> unlimited, tokens-per-minute 5 -> unlimited\n")
        #expect(SiteChange(removing: .model, "old").line == "- model old\n")
    }
}
