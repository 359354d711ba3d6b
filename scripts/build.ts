/**
 * Makes the package that is published, in `dist/package`: ESM, declarations, the sources for the source maps, and a
 * `package.json` whose exports point at what was compiled. (The repository's own exports point at the sources, so that
 * tests, examples and docs import "millrace" without a build.)
 */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "..")
const out = Path.join(root, "dist/package")

type Target = string | null | { readonly [key: string]: Target }

/** `./src/Window.ts` → `./dist/Window.js`, with its declarations beside it. */
const compiled = (target: Target): Target => {
  if (target === null) return null
  if (typeof target !== "string") {
    return Object.fromEntries(Object.entries(target).map(([condition, nested]) => [condition, compiled(nested)]))
  }
  const module = /^\.\/src\/(.*)\.ts$/.exec(target)?.[1]
  if (module === undefined) throw new Error(`package.json exports ${target}, which is not a source in ./src`)
  return { types: `./dist/${module}.d.ts`, default: `./dist/${module}.js` }
}

const runnable = (path: string): string => path.replace(/^\.\/src\/(.*)\.ts$/, "dist/$1.js")

Fs.rmSync(out, { recursive: true, force: true })
Fs.cpSync(Path.join(root, "src"), Path.join(out, "src"), { recursive: true })
execFileSync("tsc", ["--project", "tsconfig.build.json"], { cwd: root, stdio: "inherit" })

const manifest = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))
for (const field of ["private", "scripts", "devDependencies", "allowScripts"]) delete manifest[field]
manifest.bin = Object.fromEntries(
  Object.entries(manifest.bin as Record<string, string>).map(([name, path]) => [name, runnable(path)])
)
manifest.exports = { "./package.json": "./package.json", ...(compiled(manifest.exports) as object) }
Fs.writeFileSync(Path.join(out, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`)
for (const file of ["README.md", "LICENSE"]) Fs.copyFileSync(Path.join(root, file), Path.join(out, file))
