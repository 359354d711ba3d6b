/** What may move the marker of a sink, and the error where something else has moved it. */
import * as Schema from "effect/Schema"
import type { Marker } from "../../Sink.ts"

export class SinkFenced extends Schema.TaggedError<SinkFenced>("millrace/SinkFenced")("SinkFenced", {
  sink: Schema.String,
  expected: Schema.String,
  found: Schema.String
}) {
  override get message() {
    return `Sink "${this.sink}" stands at ${this.found}, not at ${this.expected}: another run of the job writes to it`
  }
}

/** The same epoch with the same rows. */
export const isSame = (a: Marker | undefined, b: Marker | undefined): boolean =>
  standsAt(a, b) && a?.digest === b?.digest

/** Whether a marker is at an epoch, whatever its rows: the digest tells repeats apart, not places. */
export const standsAt = (found: Marker | undefined, at: Marker | undefined): boolean =>
  found?.lineage === at?.lineage && found?.epoch === at?.epoch

/** Whether a sink has made a move before, whose answer was lost; if it has not, it must stand where the move begins. */
export const hasMoved = (
  sink: string,
  found: Marker | undefined,
  from: Marker | undefined,
  to: Marker
): boolean | SinkFenced => {
  if (isSame(found, to)) return true
  return standsAt(found, from) ? false : new SinkFenced({ sink, expected: placeOf(from), found: placeOf(found) })
}

const placeOf = (marker: Marker | undefined): string =>
  marker === undefined ? "no epoch" : `epoch ${marker.epoch} of lineage ${marker.lineage}`
