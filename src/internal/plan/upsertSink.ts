/** Rows of an epoch that are handed to an effect which absorbs repeats. */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { EpochOpening, EpochWriter, Writer } from "../../Sink.ts"
import { preparedRows } from "./preparedRows.ts"

/** Keeps the rows until their epoch is durable, then writes them. It has no position: a lost answer writes them again. */
export const byEpoch = <A, E>(
  { write }: Writer<A, E>,
  schema: Schema.Codec<A, unknown> | undefined,
  flow: EpochOpening["codec"]
): EpochWriter<A, E> => {
  const { prepare, rowsOf } = preparedRows(schema, flow)
  return {
    prepare,
    apply: ({ prepared }) => Effect.forEach(prepared, (piece) => write(rowsOf(piece)), { discard: true })
  }
}
