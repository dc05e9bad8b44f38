/** What the keeper does with pages that lie on a device: windows on homes, entries, copies in main memory. */
import type { DirectPages } from '../../cache/direct-pages.ts'
import { PAGES_MAX } from '../../layout/mapping-record.ts'
import { Device } from './device.ts'
import { type Place, type SimHome, valueAt } from './files.ts'
import { byteOf, SIMULATED_BYTES } from './truth.ts'
import type { World } from './world.ts'

export class SimDirect {
  readonly device: Device
  readonly #world: World
  readonly #pages: DirectPages

  constructor(world: World) {
    this.#world = world
    this.device = new Device(world.memory, world.machine)
    this.#pages = world.pages.allowDirect((mapping, page, frame) => this.#copy(mapping, page, frame))
  }

  /** The home, which has a mapping now, gets a window, perhaps. */
  open(home: SimHome): void {
    if (this.#world.random.chance(0.8)) home.window = this.device.open(home)
  }

  /** No layout names the home any more. */
  close(home: SimHome): void {
    if (home.window !== undefined) this.device.close(home.window)
    home.window = undefined
  }

  /** The page is read on its device from now on; false where it is not. */
  mint({ home, page }: Place, node: number): boolean {
    const { pages, random } = this.#world
    if (home.window === undefined || random.chance(0.1)) return false
    const mapping = pages.mappings.on(home.mapping, node)
    const isHole = home.values.get(page) === 0 && random.chance(0.5)
    return isHole ? this.#pages.publishHole(mapping, page) : this.#pages.publish(mapping, page, page)
  }

  /** Some page is copied, or some copy goes; or entries, which are made anew. */
  act(): void {
    const { random, homes, pages, nodes } = this.#world
    const what = random.below(14)
    if (what >= 10)
      for (const home of homes) {
        if (home.window === undefined) continue
        if (random.chance(0.5)) pages.drop(home.mapping, 0, PAGES_MAX)
        for (const page of home.values.keys())
          if (random.chance(0.7)) this.mint({ home, page }, random.below(nodes.count))
      }
    else if (what < 2) this.#pages.spare.budget = random.below(3)
    else if (what < 4) this.#pages.demoteSurplus(() => random.chance(0.5))
    else if (what < 5) this.#pages.demoteCold()
    else
      for (const { mapping, window, values } of homes)
        for (const page of values.keys()) {
          const node = random.below(nodes.count)
          if (window !== undefined && random.chance(0.5))
            this.#pages.promote(pages.mappings.on(mapping, node), page, node)
        }
  }

  #copy(mapping: number, page: number, frame: number): void {
    const { homes, pages } = this.#world
    const home = homes.find((it) => it.mapping === pages.mappings.firstOf(mapping))!
    const value = valueAt({ home, page })!
    for (const [at, offset] of SIMULATED_BYTES.entries()) this.#world.fill(frame, at, byteOf(value, offset))
  }
}
