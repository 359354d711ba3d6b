/** How two descriptions of one operator differ: by themselves, in ways that only the user can judge, or not at all. */
import { type Rewrite, rewriting } from "../machine/migrating.ts"
import type { WindowNode } from "../plan/node.ts"
import type { WindowRecord } from "../plan/record.ts"
import { isSame, reads, type Shape, shapeText } from "../plan/shape.ts"

/** One way in which an operator is not what it was; `isTheirs`: only the user can say whether it means the same. */
export interface Difference {
  readonly text: string
  readonly isTheirs: boolean
}

export const other = (what: string, was: string, is: string, isTheirs = false): Difference => ({
  text: `${what} was ${was} and is ${is}`,
  isTheirs
})

export interface Comparison {
  readonly differences: ReadonlyArray<Difference>
  /** What is done about the rest. */
  readonly says: ReadonlyArray<string>
  readonly rewrite: Rewrite | undefined
}

export const compareWindows = (before: WindowRecord, now: WindowRecord, node: WindowNode): Comparison => {
  const differences: Array<Difference> = []
  const says: Array<string> = []
  const shapes = (what: string, was: Shape, is: Shape) => other(what, shapeText(was), shapeText(is))
  if (before.window !== now.window) differences.push(other("its window", before.window, now.window))
  if (!reads(before.key, now.key)) differences.push(shapes("its key", before.key, now.key))
  else if (!isSame(before.key, now.key)) says.push(`its key is ${shapeText(now.key)}, which reads what it was`)
  if (before.latenessMillis !== now.latenessMillis) {
    differences.push(other("its allowed lateness", `${before.latenessMillis} ms`, `${now.latenessMillis} ms`, true))
  }
  if (now.version < before.version) {
    const text = `its state has version ${before.version}, and this program knows versions up to ${now.version}`
    return { differences: [...differences, { text, isTheirs: false }], says, rewrite: undefined }
  }
  if (now.version > before.version) {
    const versions = Array.from({ length: now.version - before.version }, (_, i) => before.version + i)
    const missing = versions.filter((version) => node.state.migrations?.[version] === undefined)
    for (const version of missing) {
      differences.push({ text: `its state has no migration from version ${version}`, isTheirs: false })
    }
    if (missing.length > 0) return { differences, says, rewrite: undefined }
    says.push(`its state was version ${before.version} and is version ${now.version}`)
    return { differences, says, rewrite: rewriting(before, node) }
  }
  const fields = new Map(now.fields.map((field) => [field.name, field]))
  let isRewritten = before.fields.some(({ name }, i) => now.fields[i]?.name !== name)
  for (const { aggregate, name, state } of before.fields) {
    const field = fields.get(name)
    fields.delete(name)
    if (field === undefined) differences.push({ text: `its field "${name}" is gone`, isTheirs: false })
    else {
      if (aggregate !== field.aggregate) {
        differences.push(other(`its field "${name}"`, aggregate, field.aggregate, reads(state, field.state)))
      }
      if (!reads(state, field.state)) differences.push(shapes(`the state of its field "${name}"`, state, field.state))
      else if (!isSame(state, field.state)) {
        isRewritten = true
        says.push(`the state of its field "${name}" is ${shapeText(field.state)}, which reads what it was`)
      }
    }
  }
  for (const name of fields.keys()) differences.push({ text: `its field "${name}" is new`, isTheirs: false })
  const hasMoved = isRewritten && differences.every(({ isTheirs }) => isTheirs)
  return { differences, says, rewrite: hasMoved ? rewriting(before, node) : undefined }
}
