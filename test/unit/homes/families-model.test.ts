/** Families against a simple model: random quiet histories, then every file opened and every page looked at. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OWN, RunMap } from '../../../src/cache/run-map.ts'
import type { Home } from '../../../src/homes/home.ts'
import type { SimFile } from '../../../src/sim/volume.ts'
import { PAGE, Quiet } from './quiet.ts'

const PAGES = 10
const page = fc.nat(PAGES - 1)
const pick = fc.nat(99)
const command = fc.oneof(
  fc.record({ do: fc.constant('create' as const) }),
  fc.record({ do: fc.constant('clone' as const), file: pick }),
  fc.record({ do: fc.constant('write' as const), file: pick, page }),
  fc.record({ do: fc.constant('punch' as const), file: pick, page }),
  fc.record({
    do: fc.constant('copy' as const),
    file: pick,
    page,
    to: pick,
    toPage: page,
    count: fc.integer({ min: 1, max: 6 }),
  }),
  fc.record({
    do: fc.constant('resize' as const),
    file: pick,
    bytes: fc.integer({ min: 2 * PAGE, max: PAGES * PAGE }),
  }),
  fc.record({ do: fc.constant('delete' as const), file: pick }),
  fc.record({ do: fc.constant('open' as const), file: pick }),
  fc.record({ do: fc.constant('use' as const), file: pick }),
  fc.record({ do: fc.constant('release' as const) }),
  fc.record({ do: fc.constant('sweep' as const) }),
)
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never

class History {
  readonly quiet = new Quiet({ idleMs: 3_600_000, largeShareBytes: 4 * PAGE, maxHomes: 8 })
  files: SimFile[] = []
  readonly inUse: { home: Home<SimFile>; release: () => void }[] = []
  #names = 0

  async do(step: Command): Promise<void> {
    const { quiet } = this
    const { volume } = quiet
    if (step.do === 'create') {
      if (this.files.length < 6) this.files.push(quiet.file(`file ${++this.#names}`, PAGES))
      return
    }
    if (step.do === 'release') return this.inUse.pop()?.release()
    if (step.do === 'sweep') return quiet.families.sweep()
    if (this.files.length === 0) return
    const file = this.files[step.file % this.files.length]!
    if (step.do === 'clone') {
      if (this.files.length < 6) this.files.push(quiet.clone(file, `file ${++this.#names}`))
    } else if (step.do === 'write') quiet.write(file, step.page)
    else if (step.do === 'punch') {
      volume.stampCtime(file)
      if (step.page < volume.unitCount(file)) volume.punchHole(file, step.page)
    } else if (step.do === 'copy') {
      const to = this.files[step.to % this.files.length]!
      const whole = (f: SimFile, first: number) => Math.floor(f.sizeBytes / PAGE) - first
      const count = Math.min(step.count, whole(file, step.page), whole(to, step.toPage))
      volume.stampCtime(to)
      if (to !== file && count > 0) volume.cloneRange(file, step.page, to, step.toPage, count)
    } else if (step.do === 'resize') {
      volume.setSize(file, step.bytes)
      volume.stampCtime(file)
    } else if (step.do === 'delete') {
      this.files = this.files.filter((other) => other !== file)
      volume.unlink(file)
    } else {
      const serving = await quiet.serve(file)
      if (step.do === 'use' && serving.kind === 'pristine') {
        this.inUse.push({ home: serving.home, release: quiet.users.use(serving.home) })
      }
    }
    quiet.later()
  }

  /** For each page of the file where it is read from; checks that this is what the file holds. */
  async pages(file: SimFile): Promise<{ home: number; homePage: number }[]> {
    const { volume } = this.quiet
    const serving = await this.quiet.serve(file)
    if (serving.kind === 'private') return []
    const homes = new Map(
      (serving.kind === 'pristine' ? [serving.home] : serving.homes).map((home) => [home.number, home]),
    )
    const map =
      serving.kind === 'diverged'
        ? serving.map
        : RunMap.build(
            [{ filePage: 0, pageCount: volume.unitCount(file), home: serving.home.number, homePage: 0 }],
            serving.home.size,
          )
    expect(map.sizeBytes).toBe(file.sizeBytes)
    return Array.from({ length: volume.unitCount(file) }, (_, at) => {
      map.seek(at * PAGE)
      if (map.home === OWN) return { home: OWN, homePage: at }
      const home = homes.get(map.home)!
      expect(home.state).not.toBe('retired')
      const homePage = map.offset / PAGE
      expect(volume.value(home.file, homePage)).toBe(volume.value(file, at))
      // The home does not end before the bytes of the file.
      expect(home.size - map.offset).toBeGreaterThanOrEqual(Math.min(PAGE, file.sizeBytes - at * PAGE))
      return { home: map.home, homePage }
    })
  }
}

describe('families', () => {
  it('serve what files hold, the same block from one place, and leave nothing behind', async () => {
    let sharedPages = 0
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 60, size: 'max' }), async (steps) => {
        const history = new History()
        const { quiet } = history
        for (const step of steps) {
          await history.do(step)
          quiet.families.checkInvariants()
          for (const { home } of history.inUse) expect(home.state).not.toBe('retired')
        }

        // Once to make the homes that are still to be made, twice to have them used by all.
        for (let round = 0; round < 3; round++) for (const file of history.files) await history.pages(file)
        const places = new Map<unknown, string>()
        for (const file of history.files) {
          for (const [at, { home, homePage }] of (await history.pages(file)).entries()) {
            const block = quiet.volume.plainBlock(file, at)
            if (home === OWN || block === undefined || block.refs < 3) continue
            const isWhole = (at + 1) * PAGE <= file.sizeBytes
            const place = `${home} ${homePage}`
            if (isWhole && places.has(block)) sharedPages++
            if (isWhole) expect(places.get(block) ?? place).toBe(place)
            if (isWhole) places.set(block, place)
          }
        }

        for (const { release } of history.inUse) release()
        for (const file of history.files) quiet.volume.unlink(file)
        quiet.later(3_600_000)
        await quiet.families.sweep()
        expect(quiet.volume.homes).toEqual([])
        expect(quiet.families.statistics()).toMatchObject({ homes: 0, members: 0, runBytes: 0, families: 0 })
        quiet.families.checkInvariants()
        quiet.volume.checkInvariants()
      }),
      { numRuns: 300 },
    )
    expect(sharedPages).toBeGreaterThan(300)
  })
})
