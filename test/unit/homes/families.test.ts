import { afterEach, describe, expect, it } from 'vitest'
import type { FamiliesOptions } from '../../../src/homes/families.ts'
import { PrivateReason } from '../../../src/homes/serving.ts'
import { describeServing, PAGE, Quiet } from './quiet.ts'

let quiet: Quiet

function start(options: FamiliesOptions = {}): Quiet {
  quiet = new Quiet(options)
  return quiet
}

afterEach(() => {
  quiet.families.checkInvariants()
  quiet.volume.checkInvariants()
})

describe('which files get a home', () => {
  it('none that is smaller than a home is worth', async () => {
    const { families } = start()
    const file = quiet.file('a', 1)
    quiet.clone(file, 'b')
    expect(await quiet.how(file)).toBe('private: small')
    expect(families.statistics().private[PrivateReason.SMALL]).toBe(1)
  })

  it('no empty one, though the least to share is nothing', async () => {
    const { families } = start({ minShareBytes: 0 })
    const file = quiet.file('a', 0)
    quiet.clone(file, 'b')
    expect(await quiet.how(file)).toBe('private: small')
    expect(families.statistics().homesMade).toBe(0)
  })

  it('none that shares nothing, for a while: its ctime does not tell when it gets clones', async () => {
    start({ recheckMs: 60_000 })
    const file = quiet.file('a', 10)
    const serving = await quiet.serve(file)
    expect(serving).toMatchObject({ kind: 'private', reason: 'little shared', remember: true })
    expect(serving.recheckAtMs).toBe(quiet.volume.nowNs / 1e6 + 60_000)
  })

  it('one that wants it, also where nobody shares it; and its clones lie in the same', async () => {
    start()
    const alone = quiet.file('alone', 10)
    const wanting = (file: typeof alone) => quiet.families.serve({ ...quiet.source(file, 0, 'fs'), wantsHome: 'all' })
    expect(describeServing(await wanting(alone))).toBe('pristine home 1')
    expect(describeServing(await wanting(alone))).toBe('pristine home 1')
    const copy = quiet.clone(alone, 'copy')
    expect(describeServing(await wanting(copy))).toBe('pristine home 1')
    // What is its own since is worth another home only where it is as much as a file that gets one.
    quiet.volume.writeDirect(copy, 2, 1000)
    quiet.later()
    expect(describeServing(await wanting(copy))).toMatch(/^diverged/)
    expect(quiet.families.statistics().homesMade).toBe(1)
    expect(describeServing(await wanting(quiet.file('small', 1)))).toBe('private: small')

    // Of what is shared, and no sooner.
    const middle = quiet.file('middle', 7)
    const shared = () => quiet.families.serve({ ...quiet.source(middle, 0, 'fs'), wantsHome: 'shared' })
    expect(describeServing(await shared())).toBe('private: little shared')
    quiet.clone(middle, 'second')
    expect(await quiet.how(middle)).toBe('private: first sharer')
    expect(describeServing(await shared())).toBe('pristine home 2')
  })

  it('none of which too small a part is shared', async () => {
    start({ minSharePart: 0.5 })
    const file = quiet.file('a', 20)
    const other = quiet.file('b', 10)
    quiet.volume.cloneRange(other, 0, file, 0, 9)
    quiet.later()
    expect(await quiet.how(file)).toBe('private: little shared')
    expect(await quiet.how(other)).toBe('pristine home 1')
  })

  it('a large one when it is first opened, a middle one when a second file has its addresses', async () => {
    start()
    const large = quiet.file('large', 8)
    const copy = quiet.clone(large, 'copy')
    expect(await quiet.how(large)).toBe('pristine home 1')
    expect(await quiet.how(copy)).toBe('pristine home 1')

    const middle = quiet.file('middle', 7)
    const second = quiet.clone(middle, 'second')
    const third = quiet.clone(middle, 'third')
    expect(await quiet.how(middle)).toBe('private: first sharer')
    expect(await quiet.how(middle)).toBe('private: first sharer')
    expect(quiet.forgotten).toEqual([])
    expect(await quiet.how(second)).toBe('pristine home 2')
    expect(quiet.forgotten).toEqual(['middle'])
    expect(await quiet.how(middle)).toBe('pristine home 2')
    expect(await quiet.how(third)).toBe('pristine home 2')
    expect(quiet.families.statistics()).toMatchObject({ homes: 2, families: 2, members: 5, runBytes: 37 * PAGE })
  })

  it('forgets first sharers, the longest known first, when they take too much', async () => {
    start({ firstSharerExtentsMax: 2 })
    const files = ['a', 'b', 'c'].map((name) => quiet.file(name, 4))
    const clones = files.map((file) => quiet.clone(file, `${file.name}2`))
    for (const file of files) expect(await quiet.how(file)).toBe('private: first sharer')
    expect(quiet.forgotten).toEqual(['a'])
    expect(await quiet.how(clones[0]!)).toBe('private: first sharer')
    expect(await quiet.how(clones[2]!)).toBe('pristine home 1')
  })

  it('one home for many clones that are opened at the same time', async () => {
    start()
    const file = quiet.file('file', 10)
    const clones = Array.from({ length: 20 }, (_, i) => quiet.clone(file, `clone ${i}`))
    const servings = await Promise.all(clones.map((clone) => quiet.serve(clone)))
    expect(new Set(servings.map(describeServing))).toEqual(new Set(['pristine home 1']))
    expect(quiet.families.statistics()).toMatchObject({ homes: 1, homesMade: 1, families: 1, members: 20 })
  })

  it('one further home for what several files have beyond a known one, opened at the same time', async () => {
    start()
    const base = quiet.file('base', 10)
    quiet.clone(base, 'clone')
    expect(await quiet.how(base)).toBe('pristine home 1')
    const wide = quiet.file('wide', 20)
    quiet.volume.cloneRange(base, 0, wide, 0, 10)
    quiet.later()
    const copies = Array.from({ length: 5 }, (_, i) => quiet.clone(wide, `wide ${i}`))
    const servings = await Promise.all([wide, ...copies].map((file) => quiet.serve(file)))
    expect(new Set(servings.map(describeServing))).toEqual(new Set(['diverged 0+10 → home 1 0, 10+10 → home 2 10']))
    expect(quiet.families.statistics()).toMatchObject({ homes: 2, homesMade: 2, families: 1 })
  })

  it('none beyond the limit, unless one that nobody uses can go', async () => {
    start({ maxHomes: 2 })
    const files = ['a', 'b', 'c', 'd'].map((name) => quiet.file(name, 8))
    for (const file of files) quiet.clone(file, `${file.name}2`)
    for (const file of files.slice(0, 3)) {
      quiet.later()
      expect(await quiet.how(file)).toMatch('pristine')
    }
    // The least recently used one went.
    expect(quiet.families.homes().map((home) => home.file.name)).toEqual(['home 3', 'home 2'])
    expect(quiet.families.homes().map((home) => [home.number, home.generation])).toEqual([
      [0, 2],
      [1, 1],
    ])
    for (const home of quiet.families.homes()) quiet.users.use(home)
    const serving = await quiet.serve(files[3]!)
    expect(serving).toMatchObject({ kind: 'private', reason: 'many homes', remember: true })
    expect(serving.recheckAtMs).toBeLessThan(Number.POSITIVE_INFINITY)
  })

  it('none across domains or file systems', async () => {
    start()
    const file = quiet.file('a', 10)
    const [b, c, d] = ['b', 'c', 'd'].map((name) => quiet.clone(file, name))
    const names = []
    names.push(describeServing(await quiet.serve(file, 1)))
    names.push(describeServing(await quiet.serve(b!, '1')))
    names.push(describeServing(await quiet.serve(c!, 1, 'another')))
    names.push(describeServing(await quiet.serve(d!, 1)))
    expect(names).toEqual(['pristine home 1', 'pristine home 2', 'pristine home 3', 'pristine home 1'])
  })
})

describe('what is served from where', () => {
  it('a page of its own is read from the file, its neighbours from the home', async () => {
    start()
    const file = quiet.file('file', 10)
    const clone = quiet.clone(file, 'clone')
    expect(await quiet.how(file)).toBe('pristine home 1')
    quiet.write(clone, 4)
    expect(await quiet.how(clone)).toBe('diverged 0+4 → home 1 0, 5+5 → home 1 5')
    expect(quiet.families.statistics()).toMatchObject({ pristine: 1, diverged: 1, runBytes: 19 * PAGE })
  })

  it('parts at other offsets, of several homes', async () => {
    start()
    const [a, b] = [quiet.file('a', 8), quiet.file('b', 8)]
    quiet.clone(a, 'a2')
    quiet.clone(b, 'b2')
    expect([await quiet.how(a), await quiet.how(b)]).toEqual(['pristine home 1', 'pristine home 2'])
    const mixed = quiet.file('mixed', 12)
    quiet.volume.cloneRange(a, 2, mixed, 5, 3)
    quiet.volume.cloneRange(b, 4, mixed, 1, 4)
    quiet.later()
    expect(await quiet.how(mixed)).toBe('diverged 1+4 → home 2 4, 5+3 → home 1 2')
    expect(quiet.families.statistics().families).toBe(1)
  })

  it('holes are equal to holes: sparse clones are pristine', async () => {
    start()
    const file = quiet.file('file', 16)
    for (const page of [0, 1, 5, 9, 15]) quiet.volume.punchHole(file, page)
    quiet.volume.preallocate(file, 5)
    const clone = quiet.clone(file, 'clone')
    expect(await quiet.how(file)).toBe('pristine home 1')
    expect(await quiet.how(clone)).toBe('pristine home 1')
    quiet.write(clone, 9)
    expect(await quiet.how(clone)).toBe('diverged 0+9 → home 1 0, 10+6 → home 1 10')
  })

  it('the last page of an odd size belongs to the pristine file, not to a longer one', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.volume.setSize(file, 9 * PAGE + 100)
    quiet.later()
    const clone = quiet.clone(file, 'clone')
    const grown = quiet.clone(file, 'grown')
    expect(await quiet.how(file)).toBe('pristine home 1')
    expect(await quiet.how(clone)).toBe('pristine home 1')
    quiet.volume.setSize(grown, 10 * PAGE)
    quiet.volume.stampCtime(grown)
    quiet.later()
    expect(await quiet.how(grown)).toBe('diverged 0+9 → home 1 0')
  })

  it('compressed extents are not shared by address', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.volume.compress(file, 0)
    quiet.volume.compress(file, 6)
    const clone = quiet.clone(file, 'clone')
    expect(await quiet.how(file)).toBe('private: first sharer')
    expect(await quiet.how(clone)).toBe('pristine home 1')
    expect(await quiet.how(file)).toBe('diverged 2+4 → home 1 2, 8+2 → home 1 8')
  })

  it('a file that shares compressed extents only is told from one that shares nothing', async () => {
    start()
    const file = quiet.file('file', 10)
    const clone = quiet.clone(file, 'clone')
    for (let page = 0; page < 10; page += 2) quiet.volume.compress(clone, page)
    expect(await quiet.how(clone)).toBe('private: compressed')
    expect(await quiet.how(file)).toBe('private: little shared')
  })
})

describe('superseding', () => {
  it('a file without pages of its own gets a home instead of one whose maker had some', async () => {
    start()
    const golden = quiet.file('golden', 20)
    const diverged = quiet.clone(golden, 'diverged')
    const [one, two] = [quiet.clone(golden, 'one'), quiet.clone(golden, 'two')]
    quiet.write(diverged, 3)
    const first = await quiet.serve(diverged)
    if (first.kind !== 'pristine') throw new Error('the first file is equal to its home')
    const release = quiet.users.use(first.home)
    expect(await quiet.how(one)).toBe('pristine home 2')
    expect(quiet.forgotten).toEqual(['diverged'])
    expect(first.home.state).toBe('superseded')
    expect(await quiet.how(two)).toBe('pristine home 2')
    // Its own page is marked as shared while the old home lives, but is worth no home.
    expect(await quiet.how(diverged)).toBe('diverged 0+3 → home 2 0, 4+16 → home 2 4')

    release()
    quiet.families.touched(first.home.number, first.home.generation)
    await quiet.families.sweep()
    expect(quiet.families.homes().map((home) => home.file.name)).toEqual(['home 2'])
    // Once is enough: nobody is better than a maker without pages of its own.
    expect(await quiet.how(golden)).toBe('pristine home 2')
    expect(quiet.families.statistics().homesSuperseded).toBe(1)
  })

  it('does not happen for a file that made one of its homes, nor for one with pages of its own, nor for a small part', async () => {
    start()
    const golden = quiet.file('golden', 20)
    const [a, b, c] = ['a', 'b', 'c'].map((name) => quiet.clone(golden, name))
    quiet.write(a!, 3)
    expect(await quiet.how(a!)).toBe('pristine home 1')
    quiet.write(b!, 5)
    expect(await quiet.how(b!)).toBe('diverged 0+3 → home 1 0, 4+1 → home 1 4, 6+14 → home 1 6')
    quiet.write(c!, 0, 1, 2)
    const twin = quiet.clone(c!, 'twin')
    expect(await quiet.how(twin)).toMatch('diverged')
    expect(quiet.families.statistics().homesSuperseded).toBe(0)
  })

  it('leaves the old home in force when the new one cannot be made', async () => {
    start()
    const golden = quiet.file('golden', 20)
    const diverged = quiet.clone(golden, 'diverged')
    const one = quiet.clone(golden, 'one')
    quiet.write(diverged, 3)
    await quiet.serve(diverged)
    quiet.storage.fail('createHome', 'EIO')
    expect(await quiet.how(one)).toBe('diverged 0+3 → home 1 0, 4+16 → home 1 4')
    expect(await quiet.how(diverged)).toBe('pristine home 1')
  })
})

describe('the lives of homes', () => {
  async function family(names: string[], options: FamiliesOptions = {}) {
    start({ idleMs: 300_000, ...options })
    const file = quiet.file(names[0]!, 10)
    const files = [file, ...names.slice(1).map((name) => quiet.clone(file, name))]
    // Somebody shares it whom nobody opens.
    quiet.clone(file, 'unopened')
    for (const f of files) expect(await quiet.how(f)).toBe('pristine home 1')
    return files
  }
  const homes = () => quiet.volume.homes.length

  it('end after the idle time, not before', async () => {
    await family(['a', 'b'])
    quiet.later(299_000)
    await quiet.families.sweep()
    expect(homes()).toBe(1)
    quiet.later(1000)
    await quiet.families.sweep()
    expect(homes()).toBe(0)
    expect(quiet.families.statistics()).toMatchObject({ homes: 0, members: 0, homesDropped: 1 })
  })

  it('are prolonged by use, by remembered decisions too', async () => {
    await family(['a', 'b'])
    const [home] = quiet.families.homes()
    const release = quiet.users.use(home!)
    quiet.later(400_000)
    await quiet.families.sweep()
    expect(homes()).toBe(1)
    release()
    quiet.later(200_000)
    quiet.families.touched(home!.number, home!.generation)
    quiet.later(200_000)
    await quiet.families.sweep()
    expect(homes()).toBe(1)
  })

  it.each([
    ['is deleted', (name: string) => quiet.volume.unlink(fileNamed(name))],
    [
      'is deleted while open',
      (name: string) => {
        fileNamed(name).opens++
        quiet.volume.unlink(fileNamed(name))
      },
    ],
    ['is overwritten', (name: string) => quiet.write(fileNamed(name), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)],
  ])('end at once when the last but one file %s', async (_, lose) => {
    await family(['a', 'b', 'c'])
    lose('b')
    await quiet.families.sweep()
    expect(homes()).toBe(1)
    lose('a')
    await quiet.families.sweep()
    expect(homes()).toBe(0)
  })

  it('go on while two files share, though changed', async () => {
    await family(['a', 'b'])
    quiet.write(fileNamed('a'), 0)
    quiet.write(fileNamed('b'), 5)
    await quiet.families.sweep()
    expect(homes()).toBe(1)
  })

  it('with a single file wait for a second one, until that file is gone', async () => {
    await family(['a'])
    await quiet.families.sweep()
    expect(homes()).toBe(1)
    quiet.volume.unlink(fileNamed('a'))
    await quiet.families.sweep()
    expect(homes()).toBe(0)
  })

  it('are left to the idle time when more files may live than are remembered', async () => {
    await family(['a', 'b', 'c'], { membersPerHome: 2 })
    quiet.volume.unlink(fileNamed('a'))
    quiet.volume.unlink(fileNamed('b'))
    await quiet.families.sweep()
    expect(homes()).toBe(1)
  })

  it('do not end because a file cannot be read just now', async () => {
    await family(['a', 'b'])
    quiet.storage.fail('stamp', 'EIO', 'EIO')
    await quiet.families.sweep()
    expect(homes()).toBe(1)
  })

  it('never end in use', async () => {
    await family(['a', 'b'])
    const release = quiet.users.use(quiet.families.homes()[0]!)
    quiet.volume.unlink(fileNamed('a'))
    quiet.volume.unlink(fileNamed('b'))
    quiet.later(10_000_000)
    await quiet.families.sweep()
    expect(homes()).toBe(1)
    release()
    await quiet.families.sweep()
    quiet.later(300_000)
    await quiet.families.sweep()
    expect(homes()).toBe(0)
  })

  it('leave what was shared with the home alone unshared: no new home for it, even while the old one is being dropped', async () => {
    start()
    const file = quiet.file('file', 10)
    const clone = quiet.clone(file, 'clone')
    await quiet.serve(file)
    await quiet.serve(clone)
    quiet.volume.unlink(clone)
    const release = quiet.storage.hold('dropHome')
    const sweep = quiet.families.sweep()
    while (!quiet.storage.calls.includes('dropHome home 1')) await null
    const serving = quiet.serve(file)
    for (let i = 0; i < 100; i++) await null
    release()
    await sweep
    expect(describeServing(await serving)).toBe('private: little shared')
    expect(homes()).toBe(0)
  })

  it('count the bytes that only they refer to', async () => {
    const [a, b] = await family(['a', 'b'])
    expect(await quiet.families.pinnedBytes()).toBe(0)
    for (const file of [a!, b!, fileNamed('unopened')]) quiet.write(file, 3, 7)
    expect(await quiet.families.pinnedBytes()).toBe(2 * PAGE)
  })

  it('end with the families', async () => {
    await family(['a', 'b'])
    quiet.users.use(quiet.families.homes()[0]!)
    await quiet.families.close()
    expect(homes()).toBe(0)
  })

  function fileNamed(name: string) {
    return [...quiet.volume.files].find((file) => file.name === name)!
  }
})

describe('when calls fail', () => {
  async function clones() {
    start()
    const file = quiet.file('file', 10)
    return [file, quiet.clone(file, 'clone')] as const
  }

  it.each(['ENOSPC', 'EDQUOT', 'EMFILE'])('%s drops the homes that nobody uses, then tries once more', async (code) => {
    const [file] = await clones()
    const other = quiet.file('other', 10)
    quiet.clone(other, 'other clone')
    await quiet.serve(other)
    quiet.storage.fail('createHome', code)
    expect(await quiet.how(file)).toBe('pristine home 2')
    expect(quiet.families.homes().map((home) => home.file.name)).toEqual(['home 2'])

    const third = quiet.file('third', 10)
    quiet.clone(third, 'third clone')
    quiet.storage.fail('createHome', code, code)
    expect(await quiet.serve(third)).toMatchObject({ kind: 'private', reason: 'no space', remember: true })
    expect(quiet.families.statistics().homes).toBe(0)
  })

  it.each([
    ['createHome', 'EINVAL', 'no clone', true],
    ['createHome', 'EROFS', 'no clone', true],
    ['createHome', 'EIO', 'failed', false],
    ['extents', 'EOPNOTSUPP', 'no extents', true],
    ['extents', 'EIO', 'failed', false],
    ['homeExtents', 'EIO', 'failed', false],
  ])('%s with %s: private, %s', async (call, code, reason, remember) => {
    const [file] = await clones()
    quiet.storage.fail(call, code)
    expect(await quiet.serve(file)).toMatchObject({ kind: 'private', reason, remember })
    expect(quiet.volume.homes).toEqual([])
    expect(await quiet.how(file)).toMatch('pristine home')
  })

  it('a file that is gone cannot be served', async () => {
    const [file] = await clones()
    quiet.volume.unlink(file)
    await expect(quiet.serve(file)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('a fault of the program is no I/O error', async () => {
    const [file] = await clones()
    quiet.storage.failures.set('createHome', [new TypeError('oops')])
    await expect(quiet.serve(file)).rejects.toThrow('oops')
    expect(quiet.families.statistics().homes).toBe(0)
  })

  it('a clone that cannot be dropped is counted and forgotten', async () => {
    const [file, clone] = await clones()
    await quiet.serve(file)
    quiet.volume.unlink(file)
    quiet.volume.unlink(clone)
    quiet.storage.fail('dropHome', 'EIO')
    await quiet.families.sweep()
    expect(quiet.families.statistics()).toMatchObject({ homes: 0, dropFailures: 1 })
  })

  it('more extents than allowed: private for good', async () => {
    start({ maxExtents: 3 })
    const file = quiet.file('file', 10)
    for (const page of [2, 4, 6, 8]) quiet.volume.punchHole(file, page)
    quiet.clone(file, 'clone')
    expect(await quiet.serve(file)).toMatchObject({ kind: 'private', reason: 'many extents', remember: true })
  })
})

describe('files that change', () => {
  it('being written: private, not remembered', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.clone(file, 'clone')
    file.writers++
    expect(await quiet.serve(file)).toMatchObject({ kind: 'private', reason: 'being written', remember: false })
    file.writers--
    expect(await quiet.how(file)).toBe('pristine home 1')
  })

  it('just changed, where writers or times are not known well', async () => {
    start({ settleMs: 5000, ctimeGranularityMs: 20 })
    const file = quiet.file('file', 10)
    quiet.clone(file, 'clone')
    quiet.write(file, 1)
    expect(await quiet.how(file)).toBe('pristine home 1')
    quiet.storage.writers = undefined
    expect(await quiet.serve(file)).toMatchObject({ kind: 'private', reason: 'just changed', remember: false })
    quiet.later(5000)
    expect(await quiet.how(file)).toBe('pristine home 1')
    quiet.volume.stampCtime(file)
    quiet.storage.writers = false
    quiet.later(19)
    expect(await quiet.how(file)).toBe('private: just changed')
    quiet.later(2)
    expect(await quiet.how(file)).toBe('pristine home 1')
  })

  it('a change while the home is made: made anew', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.clone(file, 'clone')
    const release = quiet.storage.hold('createHome')
    const serving = quiet.serve(file)
    while (!quiet.storage.calls.includes('createHome file')) await null
    quiet.volume.setSize(file, 9 * PAGE)
    quiet.volume.stampCtime(file)
    quiet.later()
    release()
    expect(describeServing(await serving)).toBe('pristine home 2')
    expect(quiet.volume.homes.map((home) => home.sizeBytes)).toEqual([9 * PAGE])
  })

  it('a call that finds a decision under way does not take one from before a change', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.clone(file, 'clone')
    await quiet.serve(file)
    const before = quiet.serve(file)
    const joined = quiet.serve(file)
    expect(describeServing(await before)).toBe('pristine home 1')
    expect(await joined).toBe(await before)

    // The first call's last look is at the stamp; before it can answer, a write comes and goes.
    const calls = () => quiet.storage.calls.filter((call) => call === 'stamp file').length
    const seen = calls()
    const old = quiet.serve(file)
    while (calls() < seen + 2) await null
    quiet.write(file, 4)
    expect(describeServing(await quiet.serve(file))).toBe('diverged 0+4 → home 1 0, 5+5 → home 1 5')
    await old
  })

  it('keeps changing: private', async () => {
    start()
    const file = quiet.file('file', 10)
    quiet.clone(file, 'clone')
    await quiet.serve(file)
    const extents = quiet.storage.extents.bind(quiet.storage)
    quiet.storage.extents = async (...args) => {
      quiet.volume.stampCtime(file)
      quiet.later()
      return extents(...args)
    }
    expect(await quiet.serve(file)).toMatchObject({ kind: 'private', reason: 'unsettled', remember: false })
  })

  it('blocks that moved are found again: at once by the file that notices, else by the sweep', async () => {
    start({ recheckMs: 1000, idleMs: 10_000_000 })
    const file = quiet.file('file', 10)
    const clone = quiet.clone(file, 'clone')
    expect(await quiet.how(file)).toBe('pristine home 1')
    // Everything moves together, as when a file system is balanced.
    for (let page = 0; page < 10; page++) quiet.volume.relocate(quiet.volume.plainBlock(file, page)!)
    quiet.later(60_000)
    await quiet.families.sweep()
    expect(await quiet.how(clone)).toBe('pristine home 1')

    // The home moves away alone: the addresses that it is known by are wrong, and found to be.
    for (let page = 0; page < 10; page++) quiet.volume.moveUnit(quiet.volume.homes[0]!, page)
    expect(await quiet.how(clone)).toBe('pristine home 2')
    expect(await quiet.how(file)).toBe('pristine home 2')
  })
})
