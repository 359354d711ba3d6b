// You will learn the keyed store that stands behind the state of a partition: transactions over several keys, versions,
// what has changed since one of them, and snapshots that stay as they were.
import { Console, Effect, Option, Schema } from "effect"
import { StateStore } from "millrace"

const Account = Schema.Struct({ owner: Schema.String, cents: Schema.Number })

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { id: Schema.Number }) {}

type Accounts = StateStore.StateStore<number, typeof Account.Type>

const change = Effect.fnUntraced(function*(accounts: Accounts, id: number, cents: number) {
  const account = Option.getOrThrow(yield* StateStore.get(accounts, id))
  if (account.cents + cents < 0) return yield* new Overdrawn({ id })
  yield* StateStore.put(accounts, id, { ...account, cents: account.cents + cents })
})

// Both or neither, and nobody sees one without the other.
const transfer = (accounts: Accounts, from: number, to: number, cents: number) =>
  Effect.tx(Effect.andThen(change(accounts, to, cents), change(accounts, from, -cents)))

const balances = Effect.fnUntraced(function*(accounts: Accounts) {
  const entries = yield* StateStore.getMany(accounts, yield* StateStore.keys(accounts))
  return entries.map(Option.getOrThrow).map(({ cents, owner }) => `${owner} ${cents}`).join(", ")
})

const main = Effect.gen(function*() {
  const accounts = yield* StateStore.make({ name: "accounts", key: Schema.Number, value: Account })
  yield* StateStore.putMany(accounts, [
    [1, { owner: "ada", cents: 1_000 }],
    [2, { owner: "bob", cents: 0 }],
    [3, { owner: "eve", cents: 50 }]
  ])
  const before = yield* StateStore.snapshot(accounts)

  yield* transfer(accounts, 1, 2, 400)
  yield* StateStore.delete(accounts, 3)
  yield* Console.log(`after a transfer: ${yield* balances(accounts)}`)

  const refused = yield* Effect.flip(transfer(accounts, 2, 1, 9_999))
  yield* Console.log(`${refused._tag}, and nothing has changed: ${yield* balances(accounts)}`)

  const { deletes, puts } = yield* StateStore.changes(accounts, before.version)
  yield* Console.log(`since version ${before.version}: wrote ${puts.map(({ key }) => key)}, deleted ${deletes}`)

  yield* Console.log(`the snapshot stays: ${Option.getOrThrow(before.get(1)).cents} of ${before.size} accounts`)
  yield* StateStore.restore(accounts, before)
  yield* Console.log(`restored: ${yield* balances(accounts)}`)
  before.release()
})

await Effect.runPromise(main)

// Output:
// after a transfer: ada 600, bob 400
// Overdrawn, and nothing has changed: ada 600, bob 400
// since version 1: wrote 1,2, deleted 3
// the snapshot stays: 1000 of 3 accounts
// restored: ada 1000, bob 0, eve 50
