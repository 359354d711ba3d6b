/** The servers that all of these tests share; those of tests that crash one are their own. */
import { Server } from "./postgres.ts"

export default (): () => void => {
  Server.shared.up()
  return () => Server.shared.down()
}
