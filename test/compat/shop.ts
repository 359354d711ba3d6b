/** A shop whose program changes: a source of orders that can be held back, sinks that outlive the job, and what came of it. */
import { Effect, Schema } from "effect"
import {
  Aggregate,
  CheckpointStore,
  Flow,
  type FlowError,
  Job,
  Sink,
  Source,
  type Upgrade,
  Watermark,
  Window
} from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"

export const Order = Schema.Struct({ id: Schema.Int, page: Schema.String, cents: Schema.Int, at: Schema.Int })
export type Order = typeof Order.Type

/** Ten pages in turn, one order in a second. */
export const orders = (from: number, to: number): ReadonlyArray<Order> =>
  Array.from({ length: to - from }, (_, i) => {
    const id = from + i
    return { id, page: `p${id % 3}`, cents: id * 10, at: id * 1000 }
  })

export const timed = { time: ({ at }: Order) => at, watermark: Watermark.monotonic }

export class Shop {
  readonly store = memoryStore()
  readonly orders = Source.queue({ durable: true, schema: Order })
  readonly others = Source.queue({ schema: Order })
  readonly timed = timed
  readonly totals = Sink.memory<unknown>()
  readonly large = Sink.memory<unknown>()

  readonly from = (name = "orders") => Flow.from(name, this.orders, timed)

  /** Runs a job on more orders, and stops it: nothing is under way then. */
  stopped<E>(job: Job.Job<E>, more: ReadonlyArray<Order>, options?: Job.RunOptions): Effect.Effect<void, unknown> {
    return this.lives(job, (handle) => Effect.andThen(this.push(handle, more), handle.stop), options)
  }

  drained<E>(job: Job.Job<E>, more: ReadonlyArray<Order>, options?: Job.RunOptions): Effect.Effect<void, unknown> {
    return this.lives(job, (handle) => Effect.andThen(this.push(handle, more), handle.drain), options)
  }

  plan<E>(job: Job.Job<E>, upgrade: Upgrade.Answers = {}): Effect.Effect<Upgrade.Upgrade, unknown> {
    return Effect.provideService(Job.plan(job, { upgrade }), CheckpointStore.CheckpointStore, this.store)
  }

  /** What `Job.plan` says, and whether `Job.run` does the same. */
  refusal<E>(job: Job.Job<E>, upgrade: Upgrade.Answers = {}): Effect.Effect<FlowError.CheckpointRefused, unknown> {
    return Effect.gen({ self: this }, function*() {
      const head = yield* this.store.list(job.name)
      const plan = yield* this.plan(job, upgrade)
      const error = yield* Effect.flip(this.drained(job, [], { upgrade }))
      if (!isRefused(error)) return yield* Effect.die(error)
      if (JSON.stringify(error.entries) !== JSON.stringify(plan.entries)) return yield* Effect.die("two opinions")
      const after = yield* this.store.list(job.name)
      if (JSON.stringify(after) !== JSON.stringify(head)) return yield* Effect.die("a refused checkpoint was touched")
      return error
    })
  }

  private push(handle: Job.Handle<unknown>, more: ReadonlyArray<Order>): Effect.Effect<void, unknown> {
    return more.length === 0 ? Effect.void : handle.pushAll(this.orders, more)
  }

  private lives<E>(
    job: Job.Job<E>,
    use: (handle: Job.Handle<E>) => Effect.Effect<void, unknown>,
    options: Job.RunOptions = {}
  ): Effect.Effect<void, unknown> {
    return Job.launch(job, options).pipe(
      // A job that is refused has ended before it is asked for anything.
      Effect.flatMap((handle) => Effect.raceFirst(Effect.andThen(use(handle), handle.await), handle.await)),
      Effect.scoped,
      Effect.provideService(CheckpointStore.CheckpointStore, this.store)
    )
  }
}

const isRefused = (error: unknown): error is FlowError.CheckpointRefused =>
  (error as { readonly _tag?: unknown })._tag === "CheckpointRefused"

/** What differs between two programs of the shop. */
export interface Version {
  readonly window?: Window.Window
  readonly fields?: Aggregate.Fields<Order, Record<string, unknown>>
  readonly state?: Upgrade.StateVersion
  readonly key?: "text" | "number" | "literals" | "text or null"
  readonly name?: string
}

const keyed = (flow: Flow.Flow<Order>, key: NonNullable<Version["key"]>) => {
  switch (key) {
    case "text":
      return flow.pipe(Flow.keyBy(({ page }) => page, Schema.String, { name: "by page" }))
    case "text or null":
      return flow.pipe(Flow.keyBy(({ page }) => page, Schema.NullOr(Schema.String), { name: "by page" }))
    case "number":
      return flow.pipe(Flow.keyBy(({ page }) => Number(page.slice(1)), Schema.Number, { name: "by page" }))
    case "literals":
      return flow.pipe(
        Flow.keyBy(({ page }) => page as "p0", Schema.Literals(["p0", "p1", "p2"]), { name: "by page" })
      )
  }
}

export const revenue = Aggregate.sum(({ cents }: Order) => cents)

/** Orders per page and minute. */
export const totals = (flow: Flow.Flow<Order>, shop: Shop, version: Version = {}) =>
  // The keys differ from version to version, and nobody looks at their type.
  (keyed(flow, version.key ?? "text") as Flow.KeyedFlow<unknown, Order>).pipe(
    Flow.window(version.name ?? "totals", version.window ?? Window.tumbling("1 minute")),
    Flow.aggregate(
      version.fields ?? { count: Aggregate.count, revenue },
      version.state === undefined ? {} : { state: version.state }
    ),
    Flow.only("results", { late: "orders are in order" }),
    Flow.map(({ key, value, window }) => ({ key, minute: window.start / 60_000, ...value })),
    Flow.to("totals", shop.totals)
  )

export const job = (shop: Shop, version: Version = {}) => Job.make("shop", [totals(shop.from(), shop, version)])
