/** `Postgres.layerCheckpointStore` against a real server. */
import { Effect, Layer } from "effect"
import { CheckpointStore } from "millrace"
import { storeLaws } from "../laws/storeLaws.ts"
import { emptyDatabase, opened } from "./postgres.ts"

storeLaws("Postgres.layerCheckpointStore", {
  isDurable: true,
  hasDatabase: true,
  scripts: 20,
  place: Effect.map(
    emptyDatabase(),
    (url) =>
      Layer.effect(
        CheckpointStore.CheckpointStore,
        Effect.map(opened(url, { schema: `kept "here"` }), ({ store }) => store)
      )
  )
})
