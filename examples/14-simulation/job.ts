// A job that its tests have passed for a year, in two variants. One numbers its rows in a closure. The other writes to a
// table of its own, whose marker says that the table stands where it does not stand yet.
import { Effect } from "effect"
import { Flow, Job, Sink, Source } from "millrace"

export interface Order {
  readonly shop: string
  readonly cents: number
}

export const orders: ReadonlyArray<Order> = Array.from({ length: 50 }, (_, n) => ({
  shop: ["Oslo", "Rome", "Lima"][n % 3]!,
  cents: 100 + 7 * n
}))

/** Gives every order a number. The counter is not part of any checkpoint: a crash, and it goes on where it should go back. */
export const numbered = () => {
  let last = 0
  return Job.make("receipts", [
    Flow.from("orders", Source.memory(orders)).pipe(
      Flow.map((order) => ({ number: ++last, ...order })),
      Flow.to("receipts", Sink.memory())
    )
  ], { delivery: "exactly-once" })
}

/** Stands in for a database without transactions: a table, and a row of another one that says which epoch wrote it last. */
class Database {
  readonly rows: Array<Order> = []
  marker: Sink.Marker | undefined

  private statement(change: () => void): Effect.Effect<void> {
    return Effect.andThen(Effect.sleep("1 millis"), Effect.sync(change))
  }

  readonly table = Sink.transactional<Order>({
    description: "table receipts",
    open: () => Effect.succeed({ write: (rows) => this.statement(() => void this.rows.push(...rows)) }),
    openEpochs: ({ sink }) => {
      const isAt = (marker: Sink.Marker | undefined) =>
        this.marker?.lineage === marker?.lineage && this.marker?.epoch === marker?.epoch
      const refused = Effect.fail(new Sink.SinkFenced({ sink, expected: "another epoch", found: "this one" }))
      return Effect.succeed({
        prepare: (rows) => ({ bytes: new TextEncoder().encode(JSON.stringify(rows)) }),
        apply: ({ after, marker, prepared }) =>
          Effect.gen({ self: this }, function*() {
            if (isAt(marker)) return
            if (!isAt(after)) return yield* refused
            // Two statements where there should be one transaction.
            yield* this.statement(() => void (this.marker = marker))
            for (const { bytes } of prepared) {
              yield* this.statement(() => void this.rows.push(...JSON.parse(new TextDecoder().decode(bytes))))
            }
          }),
        position: {
          isVolatile: false,
          current: Effect.sync(() => this.marker),
          begin: (marker, from) => {
            if (isAt(marker)) return Effect.void
            if (!isAt(from)) return refused
            return Effect.sync(() => {
              this.marker = marker
              this.rows.length = 0
            })
          }
        }
      })
    }
  })
}

/** Writes orders to the table, which is read for the verdict. */
export const stored = () => {
  const database = new Database()
  const job = Job.make("receipts", [
    Flow.from("orders", Source.memory(orders)).pipe(Flow.to("receipts", database.table))
  ], {
    delivery: "exactly-once"
  })
  return { job, outputs: Effect.sync(() => ({ receipts: database.rows })) }
}
