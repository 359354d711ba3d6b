/** A way to a server that can be cut just when somebody commits. */
import { Effect } from "effect"
import * as Net from "node:net"

/** `unheard`: the server never gets the COMMIT. `unanswered`: it does, and its answer is lost. */
export type Cut = "unheard" | "unanswered"

export interface Cutter {
  readonly port: number
  /** Cuts at the next commits, one after the other. Clients must not prepare statements, so that a COMMIT is seen. */
  readonly plan: (cuts: ReadonlyArray<Cut>) => void
  /** What is still to be cut. */
  readonly left: () => number
}

const commit = "COMMIT\0"

export const cutter = (server: number) =>
  Effect.acquireRelease(
    Effect.callback<Cutter & { readonly close: () => void }>((resume) => {
      let planned: ReadonlyArray<Cut> = []
      const sockets = new Set<Net.Socket>()
      const proxy = Net.createServer((near) => {
        const far = Net.connect(server, "127.0.0.1")
        let isCut = false
        const end = () => {
          near.destroy()
          far.destroy()
        }
        for (const socket of [near, far]) {
          sockets.add(socket)
          socket.on("error", end)
          socket.on("close", end)
        }
        near.on("data", (bytes) => {
          if (planned.length === 0 || !bytes.includes(commit)) return void far.write(bytes)
          const [cut, ...rest] = planned
          planned = rest
          if (cut === "unheard") return end()
          isCut = true
          far.write(bytes)
        })
        far.on("data", (bytes) => isCut ? end() : void near.write(bytes))
      })
      proxy.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          // A server that listens has an address.
          port: (proxy.address() as Net.AddressInfo).port,
          plan: (cuts) => void (planned = cuts),
          left: () => planned.length,
          close: () => {
            proxy.close()
            for (const socket of sockets) socket.destroy()
          }
        })))
    }),
    ({ close }) => Effect.sync(close)
  )
