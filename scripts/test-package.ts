/**
 * Proves that what would be published works: builds and packs it, installs the tarball in an empty project, and there
 * compiles a program under both kinds of module resolution, runs it, and looks at what it loads.
 */
import { execFileSync, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "..")
const project = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-package-"))
process.on("exit", () => Fs.rmSync(project, { recursive: true, force: true }))

const run = (command: string, args: ReadonlyArray<string>, cwd = root): string =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })

const step = (name: string, body: () => void): void => {
  try {
    body()
    console.log(`ok      ${name}`)
  } catch (error) {
    // The message of a failed command holds what it wrote to stderr; most checkers write to stdout.
    const { message, stdout = "" } = error as Error & { readonly stdout?: string }
    console.log(`FAILED  ${name}\n${message}\n${stdout}`)
    process.exit(1)
  }
}

const equal = (actual: unknown, expected: unknown, what: string): void => {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`)
}

const write = (file: string, content: string | object): void =>
  Fs.writeFileSync(Path.join(project, file), typeof content === "string" ? content : JSON.stringify(content))

let tarball = ""
let files: ReadonlyArray<string> = []

step("builds", () => void run("node", ["scripts/build.ts"]))

step("packs the compiled modules, their sources, the README, the licence, and nothing else", () => {
  const [pack] = JSON.parse(run("npm", ["pack", "./dist/package", "--json", "--pack-destination", project]))
  tarball = Path.join(project, pack.filename)
  files = pack.files.map((file: { readonly path: string }) => file.path).sort()
  const modules = files.flatMap((file) => /^src\/(.*)\.ts$/.exec(file)?.[1] ?? [])
  const outputs = [".js", ".js.map", ".d.ts", ".d.ts.map"]
  const expected = modules.flatMap((module) => [`src/${module}.ts`, ...outputs.map((end) => `dist/${module}${end}`)])
  const wanted = new Set(["LICENSE", "README.md", "package.json", ...expected])
  equal(files.filter((file) => !wanted.has(file)), [], "what does not belong in the tarball")
  equal(Array.from(wanted).filter((file) => !files.includes(file)), [], "what the tarball lacks")
})

step("publint is content", () => void run("publint", ["run", tarball, "--strict"]))

step("the types are right for every entry point", () => {
  const entries = files.flatMap((file) => /^dist\/(?!internal\/|cli\/)(.*)\.js$/.exec(file)?.[1] ?? [])
    .map((module) => module === "index" ? "." : `./${module.replace(/^testing\/index$/, "testing")}`)
  run("attw", [tarball, "--profile", "esm-only", "--no-emoji", "--entrypoints", ...entries])
})

step("installs in an empty project", () => {
  const { peerDependencies } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))
  write("package.json", { private: true, type: "module", dependencies: { effect: peerDependencies.effect } })
  run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", tarball], project)
})

for (const resolution of ["nodenext", "bundler"]) {
  step(`a program compiles with moduleResolution ${resolution}`, () => {
    Fs.copyFileSync(Path.join(root, "scripts/package-program.ts"), Path.join(project, "program.ts"))
    write("tsconfig.json", {
      compilerOptions: {
        target: "ES2023",
        module: resolution === "bundler" ? "esnext" : resolution,
        moduleResolution: resolution,
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        types: [],
        outDir: "."
      },
      files: ["program.ts"]
    })
    run("tsc", ["--project", project, "--pretty", "false"])
  })
}

step("the program runs", () => equal(run("node", ["program.js"], project), "{\"north\":2,\"south\":1}\n", "its output"))

step("internal modules are closed", () => {
  const internal = files.flatMap((file) => /^dist\/(internal\/.*)\.js$/.exec(file)?.[1] ?? [])[0] ?? "internal/any"
  const { stderr } = spawnSync("node", ["--input-type=module", "--eval", `import "millrace/${internal}"`], {
    cwd: project,
    encoding: "utf8"
  })
  if (!stderr.includes("ERR_PACKAGE_PATH_NOT_EXPORTED")) throw new Error(`millrace/${internal} can be imported`)
})

step("import \"millrace\" loads nothing but effect", () => {
  write(
    "loads.js",
    `import { registerHooks } from "node:module"
     const packages = new Set()
     const owner = (url) => /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url ?? "")?.[1]
     registerHooks({ resolve: (specifier, context, next) => {
       const resolved = next(specifier, context)
       if (owner(context.parentURL) === "millrace") packages.add(owner(resolved.url) ?? "node")
       return resolved
     } })
     await import("millrace")
     console.log([...packages].filter((name) => name !== "millrace" && name !== "node").join())`
  )
  equal(run("node", ["loads.js"], project), "effect\n", "the packages it loads")
})
