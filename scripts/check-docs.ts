/**
 * Compiles the marked code of the documentation with the repository's own options, and follows every relative link.
 */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { documents, fencesIn, moduleOf, nameOf } from "./fences.ts"
import { brokenLinks } from "./links.ts"

const root = Path.join(import.meta.dirname, "..")
const folder = Path.join(root, ".cache/docs-check")

const fences = fencesIn(root)
Fs.rmSync(folder, { recursive: true, force: true })
Fs.mkdirSync(folder, { recursive: true })
for (const fence of fences) Fs.writeFileSync(Path.join(folder, nameOf(fence)), moduleOf(fence))
Fs.writeFileSync(
  Path.join(folder, "tsconfig.json"),
  JSON.stringify({ extends: "../../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["."] })
)

const compiler = fences.length === 0
  ? { status: 0, stdout: "" }
  : spawnSync("tsc", ["--project", folder, "--pretty", "false"], { cwd: root, encoding: "utf8" })
// Lines are the page's own: only the file's name is to be translated back.
const errors = fences.reduce(
  (text, fence) => text.replaceAll(`.cache/docs-check/${nameOf(fence)}`, fence.file),
  compiler.stdout
)
process.stdout.write(errors)

const pages = documents(root).filter((file) => file.endsWith(".md"))
const broken = pages.flatMap((page) => brokenLinks(root, page))
for (const link of broken) console.log(link)

console.log(`${fences.length} fences compiled, the links of ${pages.length} pages followed`)
process.exitCode = compiler.status === 0 && broken.length === 0 ? 0 : 1
