// One of several processes whose caches are attached to a mount, and who read, write and hold ranges of a file there; the stamps are those of grants_stress.py.
// attached_stress.mjs ROLE DIST FILE SEED SECONDS [BOARD]: prints what it found, or how often it has published each group, as JSON.
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Board, Dice } from './grants_board.mjs'

const [role, dist, path, seed, seconds, boardFile] = process.argv.slice(2)
const { PageCache } = await import(`${dist}/index.js`)
const PAGE = 4096
const GROUP_BYTES = 64 * PAGE
const GROUPS = 4
const COUNTED = 2

const dice = new Dice(seed)
const board = boardFile === undefined ? undefined : new Board(boardFile)
// Too small for all of it: pages go and come.
const cache = await PageCache.attach(path, { memory: '768KiB', yieldUnderPressure: false })
const file = await cache.open(path, role === 'reader' ? 'r' : 'r+')
const end = Date.now() + Number(seconds) * 1000

const wordsOf = (bytes) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)

async function read() {
  const wrong = []
  const counts = { done: 0, hits: 0, refused: 0 }
  /** Of each page of counted groups, what was seen last. */
  const seen = new Map()
  const look = (page, bytes) => {
    const words = wordsOf(bytes)
    if (words.some((word) => word !== words[0])) wrong.push([page, 'torn', String(words[0])])
    if (page < COUNTED * 64 && words[0] < (seen.get(page) ?? 0n)) wrong.push([page, 'went back', String(words[0])])
    seen.set(page, words[0])
  }
  const how = {
    read: (buffer, position) => file.read(buffer, { position }),
    tryRead: (buffer, position) => file.tryRead(buffer, { position }),
    readSync: (buffer, position) => file.readSync(buffer, { position }),
    async view(buffer, position) {
      const view = await file.view(position, buffer.length)
      buffer.set(view.bytes)
      view.dispose()
    },
  }
  const ways = Object.keys(how)
  for (let i = 0; Date.now() < end && wrong.length < 5; i++) {
    const page = dice.below(GROUPS * 64 - 4)
    const group = Math.floor(page / 64)
    const buffer = Buffer.from(new ArrayBuffer((1 + dice.below(4)) * PAGE))
    const before = board.word(group)
    const way = ways[dice.below(ways.length)]
    try {
      const count = await how[way](buffer, page * PAGE)
      if (way === 'tryRead' && count === undefined) continue
      if (way === 'tryRead') counts.hits++
      if (board.hasNotWaited(group, before, false)) wrong.push([page, `${way} has not waited`, String(before)])
      for (let at = 0; at < buffer.length; at += PAGE) look(page + at / PAGE, buffer.subarray(at, at + PAGE))
      counts.done++
    } catch (error) {
      if (error.code !== 'EAGAIN' || way !== 'readSync') throw error
      counts.refused++
    }
    // Others want to be answered.
    if (i % 8 === 0) await turn()
  }
  return { ...counts, wrong }
}

async function write() {
  const wrong = []
  let done = 0
  const bytes = Buffer.from(new ArrayBuffer(GROUP_BYTES))
  for (; Date.now() < end; done++) {
    const group = COUNTED + dice.below(GROUPS - COUNTED)
    wordsOf(bytes).fill((BigInt(seed) << 24n) | BigInt(done + 1))
    const before = board.word(group)
    await file.write(bytes, { position: group * GROUP_BYTES })
    if (board.hasNotWaited(group, before, true)) wrong.push([group, 'write has not waited', String(before)])
    await sleep(1)
  }
  return { done, wrong }
}

async function hold() {
  const published = new Array(GROUPS).fill(0)
  while (Date.now() < end) {
    const group = dice.below(GROUPS)
    const readers = dice.below(2) === 0 ? 'wait' : 'last-published'
    const grant = await file.exclusive({ position: group * GROUP_BYTES, length: GROUP_BYTES, readers })
    board?.set(group, true, readers === 'last-published')
    const words = wordsOf(grant.bytes)
    if (words.some((word) => word !== words[0])) throw new Error(`group ${group} was given torn`)
    words.fill(words[0] + 1n)
    await sleep(dice.below(4))
    board?.set(group, false, false)
    if (dice.below(10) === 0) await grant.abandon()
    else {
      await grant.publish()
      published[group]++
    }
    await sleep(dice.below(8))
  }
  return published
}

const found = await { reader: read, writer: write, holder: hold }[role]()
await file.close()
await cache.close()
process.stdout.write(JSON.stringify(found))
