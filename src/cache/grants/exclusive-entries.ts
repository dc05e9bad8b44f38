/** `exclusive` entries: pages that nothing is cached of. Who has them, says the table of grants. Context: the keeper's thread. */
import { entryKind } from '../../layout/entry-word.ts'
import { PAGES_MAX } from '../../layout/mapping-record.ts'
import { EntryKind } from '../entry.ts'
import type { PageKeeper } from '../page-keeper.ts'
import type { XArray } from '../xarray.ts'

export class ExclusiveEntries {
  readonly #keeper: PageKeeper
  readonly #index: XArray
  readonly #set: (mapping: number, page: number) => boolean

  /** `set` writes an entry; false where there is no room in the index. */
  constructor(keeper: PageKeeper, index: XArray, set: (mapping: number, page: number) => boolean) {
    this.#keeper = keeper
    this.#index = index
    this.#set = set
  }

  /**
   * The pages [from, to) are exclusively somebody's: what is cached of them is dropped, and nothing is until {@link end}. False, and none of them is, where there is no
   * room in the index.
   */
  make(mapping: number, from: number, to: number): boolean {
    this.#keeper.drop(mapping, from, to)
    for (const each of this.#keeper.mappings.ofFile(mapping))
      for (let page = from; page < to; page++) {
        if (page < PAGES_MAX && this.#set(each, page)) continue
        this.end(mapping, from, to)
        return false
      }
    return true
  }

  end(mapping: number, from: number, to: number): void {
    for (const each of this.#keeper.mappings.ofFile(mapping))
      this.#index.each(each, from, to, (page, word) => {
        if (entryKind(word) === EntryKind.EXCLUSIVE) this.#index.erase(each, page)
      })
  }
}
