/** The one error of a program that cannot run as it is written. */
import * as Schema from "effect/Schema"

export class PlanInvalid extends Schema.TaggedError<PlanInvalid>("millrace/PlanInvalid")("PlanInvalid", {
  operator: Schema.String,
  /** What the name stands for. */
  subject: Schema.Literals(["operator", "job", "sink"]),
  problem: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    const subject = this.subject[0]!.toUpperCase() + this.subject.slice(1)
    return `${subject} "${this.operator}" ${this.problem}: ${this.remedy}`
  }
}
