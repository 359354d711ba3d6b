/**
 * What a schema lets through, as plain data: so that a checkpoint can remember by what it was written, and a later program
 * can tell whether it reads that as it was meant.
 */
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { canonicalJson } from "../state/keyIdentity.ts"

/**
 * A name for what has no parts (`"String"`); otherwise an array that begins with one: `["Fields", …]`. This stands in
 * checkpoints, so that it may grow and not change.
 */
export type Shape = Schema.Json

/** What has no schema is plain data. */
export const shapeOf = (schema: Schema.Codec<unknown, unknown> | undefined): Shape =>
  schema === undefined ? "Plain" : describe(schema.ast, [])

const describe = (ast: SchemaAST.AST, above: ReadonlyArray<SchemaAST.AST>): Shape => {
  const known = above.indexOf(ast)
  if (known >= 0) return ["Above", known]
  const within = [...above, ast]
  let shape = structure(ast, within)
  if (ast.checks !== undefined) shape = ["Checked", shape, ast.checks.flatMap(checksOf).sort()]
  if (ast.encoding !== undefined) shape = ["Encoded", shape, ast.encoding.map(({ to }) => describe(to, within))]
  return shape
}

const structure = (ast: SchemaAST.AST, within: ReadonlyArray<SchemaAST.AST>): Shape => {
  const inside = (part: SchemaAST.AST) => describe(part, within)
  switch (ast._tag) {
    case "Literal":
      return ["Literal", typeof ast.literal === "bigint" ? `${ast.literal}n` : ast.literal]
    case "UniqueSymbol":
      return ["Literal", String(ast.symbol)]
    case "Enum":
      return ["Enum", ast.enums.map(([name, value]): Shape => [name, value])]
    case "TemplateLiteral":
      return ["Template", ast.parts.map(inside)]
    case "Arrays":
      return [
        "Array",
        ast.elements.map((element): Shape => [isOptional(element), inside(element)]),
        ast.rest.map(inside)
      ]
    case "Objects":
      return [
        "Fields",
        ast.propertySignatures
          .map(({ name, type }): [string, boolean, Shape] => [String(name), isOptional(type), inside(type)])
          .sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0),
        ast.indexSignatures.map(({ parameter, type }): Shape => [inside(parameter), inside(type)])
      ]
    case "Union":
      return ["Union", ast.types.map(inside)]
    case "Suspend":
      return inside(ast.thunk())
    case "Declaration":
      return ["Declared", nameOf(ast.annotations), ast.typeParameters.map(inside)]
    default:
      return ast._tag
  }
}

const isOptional = ({ context }: SchemaAST.AST): boolean => context?.isOptional === true

/** By the word that Effect has for it, or the user. */
const nameOf = (annotations: Schema.Annotations.Annotations | undefined): string => {
  const { expected, identifier, representation, title } = (annotations ?? {}) as Record<string, unknown>
  const id = (representation as { readonly id?: unknown } | undefined)?.id
  const name = [id, identifier, title, expected].find((one) => typeof one === "string")
  // The find has looked at its type.
  return (name ?? "") as string
}

const checksOf = (check: SchemaAST.Check<never>): ReadonlyArray<string> => {
  if (check._tag === "FilterGroup") return check.checks.flatMap((one) => checksOf(one as SchemaAST.Check<never>))
  const { annotations } = check
  const payload = (annotations?.["representation"] as { readonly payload?: unknown } | undefined)?.payload
  return [`${nameOf(annotations)}${payload === undefined || payload === null ? "" : canonicalJson(payload)}`]
}

export const isSame = (before: Shape, after: Shape): boolean => canonicalJson(before) === canonicalJson(after)

/**
 * Whether everything that was written by the one shape is read by the other as what it was: the same, or with less
 * asked of it. Anything that is not sure is answered by no.
 */
export const reads = (before: Shape, after: Shape): boolean => {
  if (isSame(before, after)) return true
  const [was, ...had] = tagged(before)
  const [is, ...has] = tagged(after)
  if (was === "Checked") {
    const [inner, checks] = had as [Shape, ReadonlyArray<string>]
    if (is !== "Checked") return reads(inner, after) || (is === "Union" && joins([before], has[0]))
    const [other, asked] = has as [Shape, ReadonlyArray<string>]
    return reads(inner, other) && asked.every((check) => checks.includes(check))
  }
  if (is === "Union") return joins(was === "Union" ? had[0] as ReadonlyArray<Shape> : [before], has[0])
  if (is === "Literal" || was === "Literal") {
    return was === "Literal" && is === typeName(had[0] as Shape)
  }
  if (was !== is) return false
  switch (was) {
    case "Fields": {
      const [fields, index] = had as [ReadonlyArray<Field>, Shape]
      const [others, otherIndex] = has as [ReadonlyArray<Field>, Shape]
      if (!isSame(index, otherIndex)) return false
      return fields.every(([name, optional, shape]) => {
        const other = others.find(([other]) => other === name)
        return other !== undefined && (other[1] || !optional) && reads(shape, other[2])
      }) && others.every(([name, optional]) => optional || fields.some(([other]) => other === name))
    }
    case "Array": {
      const [elements, rest] = had as [ReadonlyArray<readonly [boolean, Shape]>, ReadonlyArray<Shape>]
      const [others, otherRest] = has as [ReadonlyArray<readonly [boolean, Shape]>, ReadonlyArray<Shape>]
      return elements.length === others.length && rest.length === otherRest.length
        && elements.every(([optional, shape], i) => optional === others[i]![0] && reads(shape, others[i]![1]))
        && rest.every((shape, i) => reads(shape, otherRest[i]!))
    }
    case "Declared": {
      // Of those that hold others by their own schemas; what else a declaration does, nobody knows.
      const [name, parts] = had as [string, ReadonlyArray<Shape>]
      const [other, otherParts] = has as [string, ReadonlyArray<Shape>]
      return name !== "" && name.startsWith("effect/") && name === other && parts.length === otherParts.length
        && parts.every((part, i) => reads(part, otherParts[i]!))
    }
    case "Pane":
    case "Late":
      return reads(had[0] as Shape, has[0] as Shape)
    default:
      return false
  }
}

/** Whether a union still asks those that were there, in the same order, and nobody new answers in their place. */
const joins = (before: ReadonlyArray<Shape>, after: unknown): boolean => {
  // What a union holds.
  const members = after as ReadonlyArray<Shape>
  const kept = members.filter((member) => before.some((one) => isSame(one, member)))
  return kept.length === before.length && kept.every((one, i) => isSame(one, before[i]!))
    && members.every((one) => kept.includes(one) || before.every((other) => areApart(one, other)))
}

type Field = readonly [name: string, optional: boolean, shape: Shape]

const tagged = (shape: Shape): ReadonlyArray<unknown> => Array.isArray(shape) ? shape : [shape]

const typeName = (literal: Shape): string =>
  typeof literal === "string" ? "String" : typeof literal === "number" ? "Number" : "Boolean"

/** Whether no JSON text is read by both. Numbers that JSON has no word for are texts there. */
const areApart = (a: Shape, b: Shape): boolean => {
  const [kinds, others] = [kindsOf(a), kindsOf(b)]
  if (kinds === undefined || others === undefined) return false
  const meet = (kind: string, other: string) =>
    kind === other || (kind === "text" && other.startsWith("text ")) || (other === "text" && kind.startsWith("text "))
  return !kinds.some((kind) => others.some((other) => meet(kind, other)))
}

/** Undefined where it is not known what it looks like as JSON. */
const kindsOf = (shape: Shape): ReadonlyArray<string> | undefined => {
  const [tag, first] = tagged(shape)
  switch (tag) {
    case "String":
      return ["text"]
    case "Number":
      return ["number", "text NaN", "text Infinity", "text -Infinity"]
    case "Boolean":
      return ["true", "false"]
    case "Null":
      return ["null"]
    case "Fields":
      return ["object"]
    case "Array":
      return ["array"]
    case "Literal":
      return typeof first === "string" ? [`text ${first}`] : [String(first)]
    case "Checked":
      return kindsOf(first as Shape)
    default:
      return undefined
  }
}

/** For people. */
export const shapeText = (shape: Shape): string => {
  const [tag, ...parts] = tagged(shape)
  const all = (shapes: unknown) => (shapes as ReadonlyArray<Shape>).map(shapeText)
  switch (tag) {
    case "Plain":
      return "plain data"
    case "Literal":
      return JSON.stringify(parts[0])
    case "Checked":
      return `${shapeText(parts[0] as Shape)} (${(parts[1] as ReadonlyArray<string>).map(shortName).join(", ")})`
    case "Encoded":
      return `${shapeText(parts[0] as Shape)} written as ${all(parts[1]).join(", ")}`
    case "Fields": {
      const fields = (parts[0] as ReadonlyArray<Field>).map(([name, optional, inner]) =>
        `${name}${optional ? "?" : ""}: ${shapeText(inner)}`
      )
      const index = (parts[1] as ReadonlyArray<readonly [Shape, Shape]>).map(([key, value]) =>
        `[${shapeText(key)}]: ${shapeText(value)}`
      )
      return `{ ${[...fields, ...index].join(", ")} }`
    }
    case "Array": {
      const elements = (parts[0] as ReadonlyArray<readonly [boolean, Shape]>).map(([, inner]) => shapeText(inner))
      return `[${[...elements, ...all(parts[1]).map((rest) => `...${rest}`)].join(", ")}]`
    }
    case "Union":
      return all(parts[0]).join(" | ")
    case "Declared": {
      const inner = all(parts[1])
      const name = shortName(parts[0] as string)
      return `${name === "" ? "a value" : name}${inner.length === 0 ? "" : ` of ${inner.join(", ")}`}`
    }
    case "Pane":
      return `panes by ${shapeText(parts[0] as Shape)}`
    case "Late":
      return `late ${shapeText(parts[0] as Shape)}`
    default:
      return parts.length === 0 ? String(tag) : `${tag} ${JSON.stringify(parts)}`
  }
}

const shortName = (name: string): string => name.replace(/^effect\/schema\//, "")
