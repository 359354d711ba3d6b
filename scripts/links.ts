/** The relative links of a Markdown page that lead nowhere: to no file, or to no heading of it. */
import * as Fs from "node:fs"
import * as Path from "node:path"

const withoutCode = (text: string) => text.replaceAll(/^```[\s\S]*?^```/gm, "").replaceAll(/`[^`\n]*`/g, "")

/** The anchor that a Markdown renderer gives to a heading. */
const anchorOf = (heading: string) =>
  heading.trim().toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(/\s/g, "-")

const anchorsOf = (text: string): ReadonlySet<string> =>
  new Set(
    Array.from(text.replaceAll(/^```[\s\S]*?^```/gm, "").matchAll(/^#{1,6} (.+)$/gm), (match) => anchorOf(match[1]!))
  )

export const linksOf = (text: string): ReadonlyArray<string> =>
  Array.from(
    withoutCode(text).matchAll(/\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)/gm),
    (match) => match[1] ?? match[2]!
  )

export const brokenLinks = (root: string, page: string): ReadonlyArray<string> => {
  const text = Fs.readFileSync(Path.join(root, page), "utf8")
  return linksOf(text).flatMap((link) => {
    if (/^[a-z][a-z+.-]*:/i.test(link)) return []
    const [path, anchor] = link.split("#", 2) as [string, string?]
    const target = path === "" ? Path.join(root, page) : Path.join(root, Path.dirname(page), decodeURI(path))
    if (!Fs.existsSync(target)) return [`${page}: no such file: ${link}`]
    if (anchor === undefined || !target.endsWith(".md")) return []
    return anchorsOf(Fs.readFileSync(target, "utf8")).has(anchor) ? [] : [`${page}: no such heading: ${link}`]
  })
}
