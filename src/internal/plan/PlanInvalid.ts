/** The one error of a program that cannot run as it is written. */
import * as Schema from "effect/Schema"

export class PlanInvalid extends Schema.TaggedError<PlanInvalid>("millrace/PlanInvalid")("PlanInvalid", {
  operator: Schema.String,
  problem: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `Operator "${this.operator}" ${this.problem}: ${this.remedy}`
  }
}
