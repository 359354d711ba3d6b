// You will learn windows that last for as long as something happens: a visit ends when its visitor is quiet for half an
// hour. A record that comes late joins two visits into one if it lies between them.
import { Console, Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const Click = Schema.Struct({ visitor: Schema.String, page: Schema.String, minute: Schema.Number })

const clicks: ReadonlyArray<typeof Click.Type> = [
  { visitor: "ada", page: "/home", minute: 0 },
  { visitor: "bob", page: "/home", minute: 3 },
  { visitor: "ada", page: "/buy", minute: 50 }, // more than half an hour after /home: another visit, so far
  { visitor: "ada", page: "/docs", minute: 25 }, // between them: all three are one visit
  { visitor: "bob", page: "/docs", minute: 40 }
]

const clicked = Flow.from("clicks", Source.memory(clicks, { schema: Click }), {
  time: (click) => click.minute * 60_000,
  watermark: Watermark.boundedOutOfOrderness("1 hour")
})

const visits = clicked.pipe(
  Flow.keyBy((click) => click.visitor, Schema.String),
  Flow.window("visits", Window.session({ gap: "30 minutes" })),
  Flow.aggregate({
    clicks: Aggregate.count,
    // In the order of event time, not of arrival.
    pages: Aggregate.collect({ schema: Schema.String }).pipe(
      Aggregate.mapInput((click: typeof Click.Type) => click.page)
    )
  }),
  Flow.only("results", { late: "nobody comes more than an hour late" })
)

const job = Job.make("visits", [
  visits.pipe(
    Flow.map(({ key, value, window }) => {
      const minutes = (window.end - window.start) / 60_000 - 30
      return `${key}, from minute ${window.start / 60_000}, ${minutes} minutes: ${
        value.pages.join(" ")
      } (${value.clicks})`
    }),
    Flow.to("console", Sink.forEach(Console.log))
  )
])

await Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// bob, from minute 3, 0 minutes: /home (1)
// bob, from minute 40, 0 minutes: /docs (1)
// ada, from minute 0, 50 minutes: /home /docs /buy (3)
