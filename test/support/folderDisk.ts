/** The disk that simulated jobs write to, under the name that tests know it by. */
export { FolderDisk } from "../../src/internal/simulation/disk.ts"
