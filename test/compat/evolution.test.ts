/** A program that changes between two runs: what goes on, what is migrated, and what is refused until somebody has said so. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Schema } from "effect"
import { Aggregate, Checkpoint, CheckpointStore, ErrorPolicy, Flow, Job, Upgrade, Window } from "millrace"
import { job, Order, orders, revenue, Shop, totals, type Version } from "./shop.ts"

const sorted = (rows: ReadonlyArray<unknown>) => rows.map((row) => JSON.stringify(row)).sort()

const statusOf = ({ entries }: Pick<Upgrade.Upgrade, "entries">, name: string, what?: Upgrade.Entry["what"]) =>
  entries.find((entry) => entry.name === name && (what === undefined || entry.what === what))?.status

/** Forty orders by one program, forty by the next: the first minute is open in between. */
const across = Effect.fnUntraced(function*(before: (shop: Shop) => Job.Job<unknown>, after: typeof before, options: {
  readonly upgrade?: Upgrade.Answers
  readonly partitions?: readonly [number, number]
} = {}) {
  const shop = new Shop()
  const [was, is] = options.partitions ?? [1, 1]
  yield* shop.stopped(before(shop), orders(0, 40), { partitions: was })
  const plan = yield* shop.plan(after(shop), options.upgrade)
  yield* shop.drained(after(shop), orders(40, 80), { upgrade: options.upgrade ?? {}, partitions: is })
  return { plan, shop, totals: sorted(yield* shop.totals.contents) }
})

/** Forty orders by one program, and what the next one is told. */
const refused = Effect.fnUntraced(function*(
  before: (shop: Shop) => Job.Job<unknown>,
  after: typeof before,
  upgrade?: Upgrade.Answers
) {
  const shop = new Shop()
  yield* shop.stopped(before(shop), orders(0, 40))
  const error = yield* shop.refusal(after(shop), upgrade)
  // It is no harm to the job itself.
  yield* shop.drained(before(shop), orders(40, 80))
  return { error, totals: sorted(yield* shop.totals.contents) }
})

const unchanged = (shop: Shop) => job(shop)
const version = (version: Version) => (shop: Shop) => job(shop, version)
const undisturbed = Effect.map(across(unchanged, unchanged), ({ totals }) => totals)

describe("V10.86 upgrade", () => {
  const passed = (name: string) => Flow.filter((order: Order) => order.id >= 0, { name })
  const programs: Readonly<Record<string, (shop: Shop) => Job.Job<unknown>>> = {
    none: (shop) => Job.make("shop", [totals(shop.from(), shop)]),
    one: (shop) => Job.make("shop", [totals(shop.from().pipe(passed("first")), shop)]),
    two: (shop) => Job.make("shop", [totals(shop.from().pipe(passed("first"), passed("second")), shop)]),
    reordered: (shop) => Job.make("shop", [totals(shop.from().pipe(passed("second"), passed("first")), shop)]),
    renamed: (shop) => Job.make("shop", [totals(shop.from().pipe(passed("the first")), shop)]),
    unnamed: (shop) => Job.make("shop", [totals(shop.from().pipe(Flow.filter(({ id }) => id >= 0)), shop)])
  }

  it.effect.each(
    [
      ["added", "none", "one"],
      ["added without a name", "none", "unnamed"],
      ["removed", "two", "one"],
      ["removed without a name", "unnamed", "none"],
      ["renamed", "one", "renamed"],
      ["reordered", "two", "reordered"]
    ] as const
  )("V10.86 a stateless operator that is %s: state is kept", ([_, before, after]) =>
    Effect.gen(function*() {
      for (const partitions of [[1, 1], [3, 2]] as const) {
        const { plan, totals } = yield* across(programs[before]!, programs[after]!, { partitions })
        assert.deepStrictEqual(totals, yield* undisturbed)
        assert.strictEqual(Upgrade.verdict(plan), "safe")
        assert.strictEqual(statusOf(plan, "totals", "operator"), "kept")
        assert.strictEqual(statusOf(plan, "orders"), "kept")
      }
    }))

  it.effect.each<readonly [string, Version, RegExp]>([
    [
      "window size",
      { window: Window.tumbling("1 hour") },
      /its window was tumbling\(60000 ms\) and is tumbling\(3600000 ms\)/
    ],
    ["kind of window", { window: Window.session({ gap: "1 minute" }) }, /is session\(gap 60000 ms\)/],
    [
      "aggregate",
      { fields: { count: Aggregate.count, revenue: Aggregate.max(({ cents }: Order) => cents) } },
      /"revenue" was sum and is max/
    ],
    ["key codec", { key: "number" }, /its key was String and is Number/],
    ["narrower key schema", { key: "literals" }, /its key was String and is "p0" \| "p1" \| "p2"/]
  ])("V10.86 a changed %s is detected, and not silently reused", ([_, changed, problem]) =>
    Effect.gen(function*() {
      const { error, totals } = yield* refused(unchanged, version(changed))
      assert.match(
        error.message,
        /^Job "shop" refuses its checkpoint of epoch \d+: it was written by a job with another plan/
      )
      assert.match(error.message, problem)
      assert.strictEqual(statusOf({ entries: error.entries! }, "totals", "operator"), "refused")
      // What has not changed is not in question.
      assert.strictEqual(statusOf({ entries: error.entries! }, "orders"), "kept")
      assert.deepStrictEqual(totals, yield* undisturbed)
    }))

  it.effect("V10.86 a removed operator with state is refused unless told", () =>
    Effect.gen(function*() {
      const more = (shop: Shop) =>
        Job.make("shop", [
          totals(shop.from(), shop),
          shop.from().pipe(
            Flow.global,
            Flow.window("all", Window.tumbling("1 hour")),
            Flow.aggregate({ count: Aggregate.count }),
            Flow.only("results", { late: "orders are in order" }),
            Flow.to("hours", shop.large)
          )
        ])
      // The same source twice is one operator.
      const both = (shop: Shop) => {
        const from = shop.from()
        return Job.make("shop", [
          totals(from, shop),
          from.pipe(
            Flow.global,
            Flow.window("all", Window.tumbling("1 hour")),
            Flow.aggregate({ count: Aggregate.count }),
            Flow.only("results", { late: "orders are in order" }),
            Flow.to("hours", shop.large)
          )
        ])
      }
      assert.throws(() => more(new Shop()), /is the name of two operators/)
      const { error } = yield* refused(both, unchanged)
      assert.match(error.message, /operator "all": is gone, and the checkpoint has 1 entry of state of it/)
      const { plan, totals: kept } = yield* across(both, unchanged, { upgrade: { drop: ["all"] } })
      assert.deepStrictEqual(kept, yield* undisturbed)
      assert.strictEqual(statusOf(plan, "all"), "orphaned")
      assert.strictEqual(statusOf(plan, "hours"), "removed")
      assert.strictEqual(Upgrade.verdict(plan), "loses")
      // And added: what was there goes on, what is new begins here.
      const added = yield* across(unchanged, both)
      assert.deepStrictEqual(added.totals, yield* undisturbed)
      assert.strictEqual(statusOf(added.plan, "all"), "new")
      assert.match(sorted(yield* added.shop.large.contents).join(), /"count":40/)
    }))
})

describe("fields of state", () => {
  const fields = { count: Aggregate.count, revenue, most: Aggregate.max(({ cents }: Order) => cents) }
  const migrated = (migrate: (old: Upgrade.EncodedState) => Upgrade.EncodedState, more: Version["fields"] = fields) =>
    version({ fields: more, state: { version: 2, migrations: { 1: migrate } } })

  it.effect("one that is added is refused; with a version, it begins empty where the migration says nothing of it", () =>
    Effect.gen(function*() {
      const { error } = yield* refused(unchanged, version({ fields }))
      assert.match(error.message, /its field "most" is new.*version: 2, migrations: \{ 1: \(old\) => … \}/)
      const { plan, totals } = yield* across(unchanged, migrated((old) => old))
      assert.strictEqual(statusOf(plan, "totals", "operator"), "migrated")
      assert.deepStrictEqual(
        totals.map((row) => JSON.parse(row)).map(({ most: _, ...row }) => JSON.stringify(row)),
        yield* undisturbed
      )
      // Of page 0 order 57 is the largest of the first minute; it came after the migration.
      assert.match(totals[0]!, /"most":{"_id":"Option","_tag":"Some","value":570}/)
    }))

  it.effect("one that is removed is refused; with a version, the others go on", () =>
    Effect.gen(function*() {
      const less = { count: Aggregate.count }
      assert.match((yield* refused(unchanged, version({ fields: less }))).error.message, /its field "revenue" is gone/)
      const { totals } = yield* across(unchanged, migrated(({ count }) => ({ count }), less))
      const wanted = (yield* undisturbed).map((row) => JSON.parse(row)).map(({ revenue: _, ...row }) =>
        JSON.stringify(row)
      )
      assert.deepStrictEqual(totals, wanted)
    }))

  it.effect("one that is renamed is refused; with a version, it goes on under its new name", () =>
    Effect.gen(function*() {
      const renamed = { count: Aggregate.count, cents: revenue }
      assert.match(
        (yield* refused(unchanged, version({ fields: renamed }))).error.message,
        /its field "revenue" is gone; its field "cents" is new/
      )
      const { totals } = yield* across(
        unchanged,
        migrated(({ count, revenue }) => ({ count, cents: revenue }), renamed)
      )
      assert.deepStrictEqual(totals, (yield* undisturbed).map((row) => row.replace("revenue", "cents")))
    }))

  it.effect("in another order they are found by their names", () =>
    Effect.gen(function*() {
      const { plan, totals } = yield* across(unchanged, version({ fields: { revenue, count: Aggregate.count } }))
      assert.strictEqual(statusOf(plan, "totals", "operator"), "migrated")
      const wanted = (yield* undisturbed).map((row) => JSON.parse(row))
        .map(({ count, revenue, ...row }) => JSON.stringify({ ...row, revenue, count }))
      assert.deepStrictEqual(totals, wanted)
    }))

  const kept = <A>(state: Schema.Codec<A, unknown>) =>
    version({
      fields: {
        last: Aggregate.make<Order, A, A>({
          zero: 0 as A,
          add: (_, { id }) => id as A,
          merge: (_, that) => that,
          done: (acc) => acc,
          state
        })
      }
    })

  it.effect("a type that is widened reads what it was, and one that is narrowed is refused", () =>
    Effect.gen(function*() {
      const last = (rows: ReadonlyArray<string>) => rows.map((row) => JSON.parse(row).last)
      const wanted = last((yield* across(kept(Schema.Int), kept(Schema.Int))).totals)
      assert.deepStrictEqual(wanted.length, 6)
      for (const wider of [Schema.Number, Schema.NullOr(Schema.Int), Schema.NullOr(Schema.Number)]) {
        const { plan, totals } = yield* across(kept(Schema.Int), kept(wider))
        assert.deepStrictEqual(last(totals), wanted)
        assert.strictEqual(statusOf(plan, "totals", "operator"), "migrated")
      }
      for (
        const other of [Schema.String as never, Schema.NumberFromString, Schema.Union([Schema.String, Schema.Number])]
      ) {
        const { error } = yield* refused(kept(Schema.Int), kept(other))
        assert.match(error.message, /the state of its field "last" was Number \(isInt\) and is/)
      }
      assert.match(
        (yield* refused(kept(Schema.Number), kept(Schema.Int))).error.message,
        /was Number and is Number \(isInt\)/
      )
    }))

  it.effect("a later version is refused by an earlier program, by their numbers", () =>
    Effect.gen(function*() {
      const { error } = yield* refused(migrated((old) => old), unchanged)
      assert.match(error.message, /its state has version 2, and this program knows versions up to 1/)
    }))

  it.effect("versions that are skipped are migrated one after the other; a gap is refused", () =>
    Effect.gen(function*() {
      const third = (migrations: Upgrade.StateVersion["migrations"]) =>
        version({ fields: { count: Aggregate.count, revenue }, state: { version: 3, ...migrations && { migrations } } })
      const add = (n: number) => ({ count, revenue }: Upgrade.EncodedState) => ({
        count: Number(count) * 10 + n,
        revenue
      })
      const { totals } = yield* across(unchanged, third({ 1: add(1), 2: add(2) }))
      // Fourteen orders of page 0 in the first forty seconds, and six after.
      assert.match(totals[0]!, new RegExp(`"count":${(14 * 10 + 1) * 10 + 2 + 6}`))
      assert.match(
        (yield* refused(unchanged, third({ 1: add(1) }))).error.message,
        /its state has no migration from version 2/
      )
    }))

  it.effect("a migration that throws, or makes what the schema does not know, is refused before anything is touched", () =>
    Effect.gen(function*() {
      const throws = yield* refused(
        unchanged,
        migrated(() => {
          throw new Error("no idea")
        })
      )
      assert.match(throws.error.message, /its state cannot be rewritten: no idea/)
      const nonsense = yield* refused(unchanged, migrated(() => ({ count: "many" })))
      assert.match(nonsense.error.message, /cannot be rewritten: /)
      const unknown = yield* refused(unchanged, migrated((old) => ({ ...old, least: 1 })))
      assert.match(unknown.error.message, /the aggregate has no field "least"/)
    }))

  it.effect("sessions and sliding windows are migrated too, on other partitions", () =>
    Effect.gen(function*() {
      const windows = [
        Window.session({ gap: "20 seconds" }),
        Window.sliding({ size: "1 minute", every: "20 seconds" }),
        Window.custom({ name: "minute", assign: (at) => [{ start: at - at % 60_000, end: at - at % 60_000 + 60_000 }] })
      ]
      for (const window of windows) {
        const swapped = version({
          window,
          fields: { revenue, orders: Aggregate.count },
          state: { version: 2, migrations: { 1: ({ count, revenue }) => ({ revenue, orders: count }) } }
        })
        const same = yield* across(version({ window }), version({ window }))
        const { totals } = yield* across(version({ window }), swapped, { partitions: [3, 2] })
        // Some have fired before.
        const told = (rows: ReadonlyArray<string>) =>
          sorted(rows.map((row) => JSON.parse(row)).map(({ count, orders = count, ...row }) => ({ ...row, orders })))
        assert.deepStrictEqual(told(totals), told(same.totals))
      }
    }))
})

describe("keys, sources and outputs", () => {
  it.effect("a wider key schema reads what it was", () =>
    Effect.gen(function*() {
      const { plan, totals } = yield* across(unchanged, version({ key: "text or null" }))
      assert.strictEqual(statusOf(plan, "totals", "operator"), "migrated")
      assert.deepStrictEqual(totals, yield* undisturbed)
    }))

  it.effect("a window that is told to begins empty, and nothing else does", () =>
    Effect.gen(function*() {
      const { plan, shop, totals } = yield* across(unchanged, version({ window: Window.tumbling("1 hour") }), {
        upgrade: { reset: ["totals"] }
      })
      assert.strictEqual(statusOf(plan, "totals", "operator"), "reset")
      assert.strictEqual(statusOf(plan, "orders"), "kept")
      const counts = totals.map((row) => JSON.parse(row).count as number)
      assert.deepStrictEqual(counts.reduce((sum, count) => sum + count, 0), 40)
      // An answer without a question has no effect.
      yield* Effect.asVoid(shop.totals.contents)
      const twice = yield* across(unchanged, unchanged, { upgrade: { reset: ["totals", "orders"], drop: ["totals"] } })
      assert.deepStrictEqual(twice.totals, yield* undisturbed)
    }))

  it.effect("operators and sources are found by their new names when told so", () =>
    Effect.gen(function*() {
      const renamed = (shop: Shop) => Job.make("shop", [totals(shop.from("purchases"), shop, { name: "sums" })])
      assert.match(
        (yield* refused(unchanged, renamed)).error.message,
        /source "orders": is gone.*operator "totals": is gone/
      )
      const upgrade = { renamed: { orders: "purchases", totals: "sums" } }
      for (const partitions of [[1, 1], [3, 2]] as const) {
        const { plan, totals } = yield* across(unchanged, renamed, { upgrade, partitions })
        assert.deepStrictEqual(totals, yield* undisturbed)
        assert.deepStrictEqual(
          plan.entries.filter(({ was }) => was !== undefined && !was.includes(".")).map(({ name, was }) => [was, name]),
          [["orders", "purchases"], ["totals", "sums"]]
        )
      }
    }))

  it.effect("parts that are joined or parted keep what they have", () =>
    Effect.gen(function*() {
      const large = (flow: Flow.Flow<Order>, shop: Shop) =>
        flow.pipe(
          Flow.global,
          Flow.window("large", Window.tumbling("1 minute")),
          Flow.aggregate({ count: Aggregate.count }),
          Flow.only("results", { late: "orders are in order" }),
          Flow.map(({ value }) => value),
          Flow.to("large", shop.large)
        )
      const joined = (shop: Shop) => {
        const from = shop.from()
        return Job.make("shop", [totals(from, shop), large(from, shop)])
      }
      const { shop, totals: kept } = yield* across(joined, joined)
      const wanted = sorted(yield* shop.large.contents)
      const merged = (shop: Shop) => {
        const from = shop.from()
        const others = Flow.from("others", shop.others, shop.timed)
        return Job.make("shop", [totals(from, shop), large(Flow.merge(from, others), shop)])
      }
      const after = yield* across(joined, merged)
      assert.deepStrictEqual(after.totals, kept)
      assert.deepStrictEqual(sorted(yield* after.shop.large.contents), wanted)
    }))

  it.effect("an output that is added begins there; one that is moved under another name is refused", () =>
    Effect.gen(function*() {
      const raw = (name: string) => (shop: Shop) => {
        const from = shop.from()
        return Job.make("shop", [totals(from, shop), from.pipe(Flow.map(({ id }) => id), Flow.to(name, shop.large))])
      }
      const { plan, shop, totals: kept } = yield* across(unchanged, raw("ids"))
      assert.deepStrictEqual(kept, yield* undisturbed)
      assert.strictEqual(statusOf(plan, "ids"), "new")
      assert.deepStrictEqual(yield* shop.large.contents, orders(40, 80).map(({ id }) => id))
      const { error } = yield* refused(raw("ids"), raw("numbers"))
      assert.match(error.message, /output "ids": is gone, and "numbers" is new and writes to the same memory/)
      // Gone with all its rows delivered, it is missed by nobody.
      const removed = yield* across(raw("ids"), unchanged)
      assert.strictEqual(statusOf(removed.plan, "ids"), "removed")
    }))

  it.effect("a checkpoint that the program brings is judged before the store has it", () =>
    Effect.gen(function*() {
      const shop = new Shop()
      yield* shop.stopped(job(shop), orders(0, 40))
      const value = yield* Checkpoint.latest("shop").pipe(
        Effect.flatMap(Effect.fromOption),
        Effect.provideService(CheckpointStore.CheckpointStore, shop.store)
      )
      const elsewhere = new Shop()
      const bring = Effect.provide(Checkpoint.layer(value))
      const error = yield* elsewhere.refusal(job(elsewhere, { window: Window.tumbling("1 hour") })).pipe(bring)
      assert.match(error.message, /its window was tumbling\(60000 ms\)/)
      assert.deepStrictEqual(yield* elsewhere.store.list("shop"), [])
      const renamed = Job.make("shop", [totals(elsewhere.from(), elsewhere, { name: "sums" })])
      yield* elsewhere.drained(renamed, orders(40, 80), { upgrade: { renamed: { totals: "sums" } } }).pipe(bring)
      assert.deepStrictEqual(sorted(yield* elsewhere.totals.contents), yield* undisturbed)
    }))

  it.effect("the checkpoints of a job are listed with what they are", () =>
    Effect.gen(function*() {
      const { shop } = yield* across(unchanged, version({ key: "text or null" }))
      const listed = yield* Checkpoint.list("shop").pipe(
        Effect.provideService(CheckpointStore.CheckpointStore, shop.store)
      )
      assert.strictEqual(listed[0]!.state, "finished")
      assert.strictEqual(new Set(listed.map(({ epoch }) => epoch)).size, listed.length)
      assert.isTrue(listed.every(({ problem }) => problem === undefined))
    }))
})

describe("records under way", () => {
  const checked = (
    shop: Shop,
    isWell: boolean,
    before: (flow: Flow.Flow<Order>) => Flow.Flow<Order>,
    policy: ErrorPolicy.ErrorPolicy = ErrorPolicy.retry(Schedule.spaced("1 hour"), { then: ErrorPolicy.fail })
  ) =>
    Job.make("shop", [
      totals(
        before(shop.from()).pipe(
          Flow.map((order) => {
            if (!isWell && order.id === 30) throw new Error("not now")
            return order
          }, { name: "checked", onError: policy }),
          Flow.typed(Order)
        ),
        shop
      )
    ])
  const straight = (flow: Flow.Flow<Order>) => flow
  const filtered = (flow: Flow.Flow<Order>) => flow.pipe(Flow.filter(() => true, { name: "first" }))

  /** A job that came to its end while its last order waited to be tried again: nothing is taken in behind it. */
  const crashed = Effect.fnUntraced(function*(shop: Shop) {
    const handle = yield* Job.launch(checked(shop, false, straight))
    // It is durable: the checkpoint has them when it returns.
    yield* handle.pushAll(shop.orders, orders(0, 31))
    let waits = 0
    for (let n = 0; waits === 0 && n < 1000; n++) {
      yield* handle.checkpoint
      const value = yield* Effect.flatMap(Checkpoint.latest("shop"), Effect.fromOption)
      waits = value.parts.flatMap(({ rows }) => rows).reduce((sum, { rows }) => sum + rows.length, 0)
    }
    return waits
  }, (effect, shop) => effect.pipe(Effect.scoped, Effect.provideService(CheckpointStore.CheckpointStore, shop.store)))

  it.effect("go on where they were; to operators that read something else they do not go", () =>
    Effect.gen(function*() {
      const shop = new Shop()
      assert.strictEqual(yield* crashed(shop), 1)
      const added = yield* shop.refusal(checked(shop, true, filtered))
      assert.match(
        added.message,
        /"checked": 1 record under way to it came from source "orders", and it reads filter "first"\. Stop the job/
      )
      const settled = yield* shop.refusal(checked(shop, true, straight, ErrorPolicy.skip))
      assert.match(
        settled.message,
        /1 record under way to it wait to be tried again, and it does not try again any more/
      )
      const gone = yield* shop.refusal(job(shop))
      assert.match(gone.message, /"checked": is gone, and the checkpoint has 1 record under way of it\. Stop the job/)
      // Further down nothing is under way.
      const behind = Job.make("shop", checkedBehind(shop))
      assert.strictEqual(Upgrade.verdict(yield* shop.plan(behind)), "safe")
      yield* shop.drained(behind, orders(31, 80))
      assert.deepStrictEqual(sorted(yield* shop.totals.contents), yield* undisturbed)
    }))

  const checkedBehind = (shop: Shop) => [
    totals(
      shop.from().pipe(
        Flow.map((order) => order, {
          name: "checked",
          onError: ErrorPolicy.retry(Schedule.spaced("1 hour"), { then: ErrorPolicy.fail })
        }),
        Flow.typed(Order),
        Flow.filter(({ id }) => id >= 0, { name: "behind" })
      ),
      shop
    )
  ]

  it.effect("are given up where that is said, and nothing else is", () =>
    Effect.gen(function*() {
      const shop = new Shop()
      assert.strictEqual(yield* crashed(shop), 1)
      const upgrade = { reset: ["checked"] }
      assert.strictEqual(statusOf(yield* shop.plan(checked(shop, true, filtered), upgrade), "checked"), "reset")
      yield* shop.drained(checked(shop, true, filtered), orders(31, 80), { upgrade })
      const counts = (yield* shop.totals.contents).map((row) => (row as { readonly count: number }).count)
      assert.strictEqual(counts.reduce((sum, count) => sum + count, 0), 79)
    }))
})

describe("plans in text", () => {
  it.effect("say what becomes of everything", () =>
    Effect.gen(function*() {
      const shop = new Shop()
      yield* shop.stopped(job(shop), orders(0, 40))
      const plan = yield* shop.plan(job(shop, { window: Window.tumbling("1 hour") }))
      const text = Upgrade.toText(plan)
      assert.match(text, /^job "shop" goes on from epoch \d+\n/)
      assert.match(
        text,
        / {2}refused {2}operator "totals" +its window was tumbling\(60000 ms\) and is tumbling\(3600000 ms\)\n +→ Leave it as it was/
      )
      assert.match(text, /\nThe job refuses this checkpoint\.$/)
      assert.match(
        Upgrade.toText(yield* new Shop().plan(job(shop))),
        /has no checkpoint\n[^]*The job begins from nothing\.$/
      )
    }))
})
