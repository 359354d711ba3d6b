/** What a source file imports and uses, read from its syntax and not from its text. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { parseSync } from "vite"

export interface Import {
  /** As written: a package, `node:fs`, or a path from `src` for a relative one. */
  readonly target: string
  readonly relative: boolean
  /** Erased when compiled. */
  readonly type: boolean
  /** `import(…)`: nothing is loaded before somebody asks. */
  readonly lazy?: boolean
}

export interface SourceFile {
  /** From `src`, with forward slashes. */
  readonly path: string
  readonly imports: ReadonlyArray<Import>
  /** Uses of a clock, of chance, of timers, or of a runtime. */
  readonly impurities: ReadonlyArray<string>
  /** Lines that hold more than a comment. */
  readonly codeLines: number
}

interface Syntax {
  readonly type: string
  readonly [key: string]: unknown
}

const isSyntax = (value: unknown): value is Syntax =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

const walk = (node: Syntax, visit: (node: Syntax) => void): void => {
  visit(node)
  for (const child of Object.values(node).flat()) if (isSyntax(child)) walk(child, visit)
}

const impureMembers = [
  /^(globalThis|process|performance|crypto)\./,
  /^Date\.now$/,
  /^Math\.random$/,
  /^DateTime\.now/,
  /^Effect\.(run|sleep|clock)/,
  /^(Clock|Random)\./
]
const timers = new Set(["setTimeout", "setInterval", "setImmediate", "queueMicrotask", "requestAnimationFrame"])

const impurity = (node: Syntax): string | undefined => {
  if (node.type === "Identifier" && timers.has(String(node["name"]))) return String(node["name"])
  const callee = node["callee"]
  if (isSyntax(callee) && callee["name"] === "Date" && node.type === "CallExpression") return "Date()"
  if (isSyntax(callee) && callee["name"] === "Date" && (node["arguments"] as ReadonlyArray<unknown>).length === 0) {
    return "new Date()"
  }
  const { object, property } = node
  if (node.type !== "MemberExpression" || !isSyntax(object) || !isSyntax(property)) return undefined
  const name = `${String(object["name"])}.${String(property["name"])}`
  return impureMembers.some((pattern) => pattern.test(name)) ? name : undefined
}

export const parse = (path: string, text: string): SourceFile => {
  const { comments, errors, module, program } = parseSync(path, text)
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]!.message}`)

  const imports: Array<Import> = []
  const add = (specifier: string, type: boolean, lazy = false) => {
    const relative = specifier.startsWith(".")
    imports.push({
      target: relative ? Path.posix.join(Path.posix.dirname(path), specifier) : specifier,
      relative,
      type,
      ...lazy ? { lazy } : {}
    })
  }
  const isType = (entries: ReadonlyArray<{ readonly isType: boolean }>) =>
    entries.length > 0 && entries.every((entry) => entry.isType)
  for (const { entries, moduleRequest } of module.staticImports) add(moduleRequest.value, isType(entries))
  for (const { entries } of module.staticExports) {
    const request = entries.find((entry) => entry.moduleRequest)?.moduleRequest
    if (request) add(request.value, isType(entries))
  }

  const impurities: Array<string> = []
  walk(program as unknown as Syntax, (node) => {
    const source = node["source"]
    if (node.type === "ImportExpression" || node.type === "TSImportType") {
      if (isSyntax(source) && typeof source["value"] === "string") {
        add(source["value"], node.type === "TSImportType", node.type === "ImportExpression")
      }
    }
    const found = impurity(node)
    if (found !== undefined) impurities.push(found)
  })

  const blanked = comments.reduce(
    (code, { end, start }) => code.slice(0, start) + code.slice(start, end).replaceAll(/[^\n]/g, " ") + code.slice(end),
    text
  )
  return { path, imports, impurities, codeLines: blanked.split("\n").filter((line) => line.trim() !== "").length }
}

export const readSources = (folder: string): ReadonlyArray<SourceFile> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => parse(file.replaceAll("\\", "/"), Fs.readFileSync(Path.join(folder, file), "utf8")))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
