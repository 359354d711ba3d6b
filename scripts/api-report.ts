/**
 * Writes `api.md`, the report of the public surface: every declaration of every public module, without its comments.
 * With `--check` it writes nothing and fails when the report is stale.
 */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "..")
const report = Path.join(root, "api.md")
const folder = Path.join(root, ".cache/api")

Fs.rmSync(folder, { recursive: true, force: true })
Fs.mkdirSync(folder, { recursive: true })
Fs.writeFileSync(
  Path.join(folder, "tsconfig.json"),
  JSON.stringify({
    extends: "../../tsconfig.build.json",
    compilerOptions: {
      emitDeclarationOnly: true,
      sourceMap: false,
      declarationMap: false,
      removeComments: true,
      rootDir: "../../src",
      outDir: "."
    },
    include: ["../../src"]
  })
)
execFileSync("tsc", ["--project", folder], { cwd: root, stdio: "inherit" })

const modules = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => file.endsWith(".d.ts") && !/^(internal|cli)\//.test(file))
  .sort((a, b) => Number(b === "index.d.ts") - Number(a === "index.d.ts") || (a < b ? -1 : 1))

const sections = modules.map((file) => {
  const name = file.replace(/\.d\.ts$/, "").replace(/(^|\/)index$/, "")
  const declarations = Fs.readFileSync(Path.join(folder, file), "utf8")
    .replaceAll(/^import [\s\S]*?;\n|^export \{\};\n/gm, "")
  return `## ${["millrace", name].filter(Boolean).join("/")}\n\n\`\`\`ts\n${declarations}\`\`\`\n`
})

const text = execFileSync("dprint", ["fmt", "--stdin", "api.md"], {
  cwd: root,
  encoding: "utf8",
  input: ["# The public surface\n", "Written by `npm run api`; review what changes here.\n", ...sections].join("\n")
})

if (!process.argv.includes("--check")) {
  Fs.writeFileSync(report, text)
} else if (!Fs.existsSync(report) || Fs.readFileSync(report, "utf8") !== text) {
  console.log("api.md is stale: run `npm run api` and review what changed in the public surface")
  process.exitCode = 1
}
