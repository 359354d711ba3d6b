/** The pieces of an epoch on their way to the store, under the names that its manifest has for them. */
import type { Blob } from "../../CheckpointStore.ts"
import { crcOf } from "./digest.ts"
import type { BlobReference } from "./manifest.ts"

export class Shelf {
  readonly blobs: Array<Blob> = []
  private readonly epoch: number

  constructor(epoch: number) {
    this.epoch = epoch
  }

  add(
    kind: string,
    pieces: ReadonlyArray<Uint8Array>,
    opaque?: ReadonlyArray<unknown>
  ): ReadonlyArray<BlobReference> {
    return pieces.map((bytes, n): BlobReference => {
      const id = `${this.epoch}.${kind}-${n}`
      this.blobs.push({ id, bytes, opaque })
      return { id, bytes: bytes.length, crc: crcOf(bytes) }
    })
  }
}
