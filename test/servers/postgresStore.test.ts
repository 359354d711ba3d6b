/** `Postgres.layerCheckpointStore` against a real server. */
import { Effect } from "effect"
import { type Place, storeLaws } from "../laws/storeLaws.ts"
import { emptyDatabase, opened } from "./postgres.ts"

storeLaws("Postgres.layerCheckpointStore", {
  isDurable: true,
  hasDatabase: true,
  scripts: 20,
  place: Effect.map(
    emptyDatabase(),
    (url): Place => ({ open: Effect.map(opened(url, { schema: `kept "here"` }), ({ store }) => store) })
  )
})
