/** What files held, page by page and one after the other, and what a reader may have got of it. A page has two halves; of one value, else it is torn. */

export type Halves = readonly [number, number]

/** All that a publish has changed. */
interface Published {
  readonly file: string
  /** Where it stands in the history of each page. */
  readonly at: ReadonlyMap<number, number>
}

/** What a reader that began at a moment may not miss, by page. */
type Least = readonly number[]

export class Truth {
  readonly #pages: number
  readonly #histories = new Map<string, number[][]>()
  /** By page, the last publish that its holder knows of. */
  readonly #acknowledged = new Map<string, number[]>()
  readonly #published: Published[] = []
  /** By the memory of the grant. */
  readonly #byMemory = new Map<number, Published>()
  #lastValue = 0

  constructor(files: readonly string[], pages: number) {
    this.#pages = pages
    for (const file of files) {
      this.#histories.set(
        file,
        Array.from({ length: pages }, () => [this.freshValue()]),
      )
      this.#acknowledged.set(file, new Array(pages).fill(0))
    }
  }

  freshValue(): number {
    return ++this.#lastValue
  }

  now(file: string, page: number): number {
    return this.#histories.get(file)![page]!.at(-1)!
  }

  write(file: string, page: number, value: number): number {
    return this.#histories.get(file)![page]!.push(value) - 1
  }

  publish(file: string, from: number, values: readonly number[], memory: number): void {
    const published = { file, at: new Map(values.map((value, i) => [from + i, this.write(file, from + i, value)])) }
    this.#published.push(published)
    this.#byMemory.set(memory, published)
  }

  isPublished(memory: number): boolean {
    return this.#byMemory.has(memory)
  }

  /** `publish` has resolved. */
  acknowledge(memory: number): void {
    const published = this.#byMemory.get(memory)
    if (published === undefined) throw new Error('a publish is acknowledged that was not written')
    const acknowledged = this.#acknowledged.get(published.file)!
    for (const [page, at] of published.at) acknowledged[page] = Math.max(acknowledged[page]!, at)
  }

  begin(file: string): Least {
    return [...this.#acknowledged.get(file)!]
  }

  /** Throws where nobody was to see these bytes now. */
  checkSeen(file: string, page: number, half: number): void {
    if (!this.#histories.get(file)![page]!.includes(half))
      throw new Error(`page ${page} of ${file} is seen in the midst of a publish, or of one that failed`)
  }

  /** Throws where a page is torn, or older than what was acknowledged before the read began. */
  checkPage(file: string, page: number, [a, b]: Halves, least: Least): void {
    if (a !== b) throw new Error(`page ${page} of ${file} is torn`)
    const at = this.#histories.get(file)![page]!.indexOf(a)
    if (at < 0) throw new Error(`page ${page} of ${file} never held ${a}`)
    if (at < least[page]!)
      throw new Error(
        `page ${page} of ${file} was read as ${a}, which was older than what was published before the read began`,
      )
  }

  /** Throws where one request got a part of a publish, and not the rest. */
  checkRange(file: string, from: number, pages: readonly Halves[]): void {
    const histories = this.#histories.get(file)!
    const at = pages.map(([value], i) => histories[from + i]!.indexOf(value))
    for (const published of this.#published) {
      if (published.file !== file) continue
      const seen = at.flatMap((index, i) => (published.at.has(from + i) ? [index >= published.at.get(from + i)!] : []))
      if (new Set(seen).size > 1) throw new Error(`pages ${from}… of ${file} were read with a part of a publish`)
    }
  }

  /** Throws where the file does not hold what was written last. */
  checkEnd(file: string, pages: readonly Halves[]): void {
    for (let page = 0; page < this.#pages; page++)
      if (pages[page]!.some((half) => half !== this.now(file, page)))
        throw new Error(`page ${page} of ${file} is not what was written last`)
  }
}
