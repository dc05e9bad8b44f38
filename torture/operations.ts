/** The operations that a program is made of, with their weights; each row makes one operation's arguments. */
import type { Random } from '../src/sim/random.ts'
import type { Generator, Opened } from './generate.ts'
import { type Argument, hasLooseTimes, MAPPINGS, OUTSIDE, SHARED_GROUP, SLOTS, userId } from './program.ts'

const PAGE = 4096
/** Files stay below this, so that the file system cannot fill. */
const SIZE_MAX = 3 << 20

const O = {
  WRONLY: 1,
  RDWR: 2,
  ACCMODE: 3,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  /** Always: a fifo must not stop anybody. */
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECT: 0o40000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  SYNC: 0o4010000,
  PATH: 0o10000000,
  TMPFILE: 0o20200000,
} as const

const FALLOC = {
  KEEP_SIZE: 1,
  PUNCH: 3,
  COLLAPSE: 8,
  ZERO: 0x10,
  ZERO_KEEP: 0x11,
  INSERT: 0x20,
  UNSHARE: 0x40,
} as const

/** FUSE passes these on, and refuses the others: it cannot shift what the kernel has cached. */
const FUSE_MODES = [0, FALLOC.KEEP_SIZE, FALLOC.PUNCH, FALLOC.PUNCH, FALLOC.ZERO, FALLOC.ZERO_KEEP] as const
const ALL_MODES = [...FUSE_MODES, FALLOC.COLLAPSE, FALLOC.INSERT, FALLOC.UNSHARE] as const

export const MODES = [
  0o644, 0o600, 0o666, 0o666, 0o755, 0o777, 0o777, 0o4755, 0o2775, 0o2666, 0o1777, 0o6777, 0,
] as const

const isWritable = (opened: Opened) => (opened.flags & O.ACCMODE) !== 0
/** O_DIRECT makes moving bytes between files a matter of alignment, which the mount is more generous with. */
const isBuffered = (opened: Opened | undefined) => ((opened?.flags ?? 0) & O.DIRECT) === 0
const isReadable = (opened: Opened) => (opened.flags & O.ACCMODE) !== O.WRONLY

/** Values of extended attributes that the kernel understands, in hexadecimal. */
export const attributes = {
  /** struct posix_acl_xattr: version 2, then entries of tag u16, permissions u16, id u32. */
  acl(random: Random): string {
    const entries: [tag: number, permissions: number, id: number][] = [
      [1, random.between(4, 7), 0xffff_ffff],
      [2, random.below(8), userId(1)],
      [4, random.below(8), 0xffff_ffff],
      [8, random.below(8), SHARED_GROUP],
      [16, random.below(8), 0xffff_ffff],
      [32, random.below(8), 0xffff_ffff],
    ]
    const value = Buffer.alloc(4 + entries.length * 8)
    value.writeUInt32LE(2, 0)
    for (const [i, [tag, permissions, id]] of entries.entries()) {
      value.writeUInt16LE(tag, 4 + i * 8)
      value.writeUInt16LE(permissions, 6 + i * 8)
      value.writeUInt32LE(id, 8 + i * 8)
    }
    return value.toString('hex')
  },
  /** struct vfs_cap_data, revision 2: cap_net_raw, effective. A write takes it away. */
  capability: '0100000200200000000000000000000000000000',
} as const

const NAMES_OF_ATTRIBUTES = [
  'user.a',
  'user.b',
  'trusted.t',
  'security.capability',
  'system.posix_acl_access',
  'system.posix_acl_default',
  'nonsense.x',
] as const

function attribute(g: Generator): [name: string, value: string] {
  const { random } = g
  const name = random.chance(0.6) ? random.pick(['user.a', 'user.b'] as const) : random.pick(NAMES_OF_ATTRIBUTES)
  // What the daemon writes back of a mapping takes capabilities away; a store to the file itself does not.
  if (name === 'security.capability')
    return !g.recipe.isNative && (punches(g) || g.recipe.byDaemon) ? ['user.a', ''] : [name, attributes.capability]
  if (name.startsWith('system.')) return [name, attributes.acl(random)]
  return [name, random.pick(['', '61', '6162636465', '00ff'.repeat(random.between(1, 500))])]
}

/**
 * Rounds have holes punched, or files with capabilities. Where there is nothing to punch btrfs leaves those; through FUSE the kernel takes them away before anybody looks.
 */
function punches({ recipe }: Generator): boolean {
  return recipe.isNative || recipe.seed % 3 !== 0
}

/** One that changes neither id arrives as a write does that takes set-id bits away: who may write the file, and does not own it, is not refused. */
function chown(g: Generator, call: 'chown' | 'fchown', file: Argument, uid: number, gid: number): void {
  if (uid !== -1 || gid !== -1 || g.isRoot || g.recipe.isNative) g.emit(call, file, uid, gid)
}

/** Mostly on page boundaries, mostly within the big files. */
function offset(random: Random): number {
  const at = random.chance(0.5) ? random.below(16 * PAGE) : random.below(SIZE_MAX - (1 << 20))
  return random.chance(0.6) ? at - (at % PAGE) : at
}

function length(random: Random): number {
  const kind = random.next() % 10
  if (kind < 3) return random.between(1, 200)
  if (kind < 6) return PAGE
  if (kind < 8) return random.between(1, 16) * PAGE
  if (kind < 9) return random.between(1, 60_000)
  return random.between(1, 96) * PAGE
}

/** For a descriptor opened with O_DIRECT whole pages; natively nearly always. A mount that reads in pieces takes what is misaligned. */
function place(g: Generator, slot: number): [offset: number, length: number] {
  const at = offset(g.random)
  const size = length(g.random)
  const opened = g.opened[g.process]![slot]
  if (opened === undefined || (opened.flags & O.DIRECT) === 0 || (g.recipe.isNative && g.random.chance(0.03)))
    return [at, size]
  return [at - (at % PAGE), Math.ceil(size / PAGE) * PAGE]
}

const id = (random: Random) => random.pick([-1, 0, userId(1), userId(2)])
const group = (random: Random) => random.pick([-1, 0, userId(1), userId(2), SHARED_GROUP])
/** Set times: now, leave, or an instant before this century's programs run. */
const time = (random: Random) => random.pick([-1, -2, random.between(1, 1_500_000_000)])

function open(g: Generator): void {
  const { random } = g
  const slot = random.below(SLOTS)
  const access = random.pick([0, 0, 0, O.WRONLY, O.RDWR, O.RDWR, O.RDWR])
  let flags: number = access | O.NONBLOCK
  if (access !== 0 || random.chance(0.05)) {
    if (random.chance(0.4)) flags |= O.CREAT
    if (random.chance(0.08)) flags |= O.EXCL
    // POSIX leaves open what it does for who only reads; through the mount he may read a home, which is not cut.
    if (random.chance(0.1) && (access !== 0 || g.recipe.isNative)) flags |= O.TRUNC
    if (random.chance(0.15)) flags |= O.APPEND
    if (random.chance(0.05)) flags |= random.pick([O.SYNC, O.DSYNC])
  }
  // The end of a file is seldom aligned.
  if (random.chance(0.1) && (g.recipe.isNative || !(flags & O.APPEND))) flags |= O.DIRECT
  if (random.chance(0.05)) flags |= O.NOFOLLOW
  if (random.chance(0.02)) flags |= O.DIRECTORY
  let path = flags & O.CREAT && random.chance(0.5) ? g.anyName() : g.existing('file', 'file', 'symlink', 'other')
  if (random.chance(0.03)) path = g.directory()
  if (access !== 0 && random.chance(0.06)) {
    flags = (access | O.TMPFILE | O.NONBLOCK) + (random.chance(0.2) ? O.EXCL : 0)
    path = g.directory()
  } else if (flags & O.CREAT) g.add(path, 'file')
  g.emit('open', slot, path, flags, random.pick(MODES))
  g.opened[g.process]![slot] = { path, flags }
}

/** Locks that belong to an open file, which has no mapping. */
function withOwnLocks(g: Generator, emit: (slot: number) => void): void {
  const slot = g.openSlot()
  const opened = g.opened[g.process]![slot]
  if (opened?.mapped) return
  if (opened !== undefined) opened.locked = true
  emit(slot)
}

function remove(g: Generator, call: 'unlink' | 'rmdir', ...kinds: Parameters<Generator['existing']>): void {
  const path = g.existing(...kinds)
  g.emit(call, path)
  g.remove(path)
}

function writeAt(g: Generator): void {
  const slot = g.openSlot(isWritable)
  g.emit('pwrite', slot, ...place(g, slot), g.stamp())
}

function range(random: Random): [start: number, length: number] {
  return [random.below(10) * 100, random.pick([0, 100, 250, 1000])]
}

type Row = [weight: number, make: (g: Generator, random: Random) => void]

/** What works through the mount even when that is read-only, or below it. */
const ALWAYS: Row[] = [
  [90, open],
  [
    25,
    (g, random) => {
      const slot = g.openSlot()
      g.emit('close', slot)
      if (random.chance(0.95)) g.opened[g.process]![slot] = undefined
    },
  ],
  [
    90,
    (g) => {
      const slot = g.openSlot(isReadable)
      g.emit('pread', slot, ...place(g, slot))
    },
  ],
  [
    20,
    (g, random) => {
      const slot = g.openSlot(isReadable)
      const size = random.chance(0.7) ? PAGE * random.between(1, 20) : length(random)
      g.emit('read', slot, isBuffered(g.opened[g.process]![slot]) ? size : Math.ceil(size / PAGE) * PAGE)
    },
  ],
  [110, writeAt],
  [
    25,
    (g, random) => {
      const slot = g.openSlot(isWritable)
      const direct = ((g.opened[g.process]![slot]?.flags ?? 0) & O.DIRECT) !== 0
      g.emit('write', slot, direct ? PAGE * random.between(1, 4) : length(random), g.stamp())
    },
  ],
  [
    15,
    (g, random) => {
      const slot = g.openSlot()
      const whence = random.pick([0, 0, 1, 2, 3, 4])
      const outside = whence >= 3 ? [-1, -600, -(2 ** 53), OUTSIDE] : []
      const at = random.pick([0, 0, PAGE, offset(random), ...outside])
      // What follows is read or written there: see place().
      if (g.recipe.isNative || isBuffered(g.opened[g.process]![slot])) g.emit('lseek', slot, at, whence)
      else g.emit('lseek', slot, at - (at % PAGE), 0)
    },
  ],
  [20, (g) => g.emit('fstat', g.openSlot())],
  [12, (g, random) => g.emit('ftruncate', g.openSlot(isWritable), random.chance(0.2) ? 0 : offset(random))],
  [10, (g, random) => g.emit('truncate', g.existing('file', 'symlink'), random.chance(0.2) ? 0 : offset(random))],
  [
    22,
    (g, random) => {
      const { isNative, readOnly } = g.recipe
      const picked = random.pick(isNative || readOnly ? ALL_MODES : FUSE_MODES)
      const mode = picked === FALLOC.PUNCH && !punches(g) ? FALLOC.KEEP_SIZE : picked
      const aligned = (mode === FALLOC.COLLAPSE || mode === FALLOC.INSERT) && random.chance(0.9)
      const [at, size] = [offset(random), length(random)]
      g.emit(
        'fallocate',
        g.openSlot(isWritable),
        mode,
        aligned ? at - (at % PAGE) : at,
        aligned ? Math.ceil(size / PAGE) * PAGE : size,
      )
    },
  ],
  [8, (g, random) => g.emit(random.pick(['fsync', 'fdatasync', 'fdatasync'] as const), g.openSlot())],
  [
    30,
    (g, random) => {
      const from = g.existing('file', 'file', 'directory', 'symlink', 'other')
      const to = random.chance(0.5) ? g.existing('file', 'directory', 'symlink') : g.anyName()
      const flags = random.pick([0, 0, 0, 1, 2, 3])
      g.emit('rename', from, to, flags)
      if (flags === 0 || (flags === 1 && !g.names.has(to))) g.rename(from, to)
    },
  ],
  [
    20,
    (g, random) => {
      const to = g.anyName()
      g.emit('link', g.existing('file', 'file', 'symlink', 'other', 'directory'), to, random.pick([0, 0, 0x400]))
      g.add(to, 'file')
    },
  ],
  [
    4,
    (g) => {
      const to = g.anyName()
      g.emit(
        'linkOpen',
        g.openSlot(({ flags }) => (flags & O.TMPFILE) === O.TMPFILE),
        to,
      )
      g.add(to, 'file')
    },
  ],
  [
    10,
    (g, random) => {
      const path = g.anyName()
      const target = random.pick([
        'a',
        'b',
        'd0/c',
        '../a',
        'big0',
        'nothing',
        '.',
        path.split('/').at(-1)!,
        'x'.repeat(300),
      ])
      g.emit('symlink', target, path)
      g.add(path, 'symlink')
    },
  ],
  [
    14,
    (g, random) => {
      const path = g.anyName()
      g.emit('mkdir', path, random.pick([0o777, 0o777, 0o777, 0o755, 0o2777, 0o1777, 0o700]))
      g.add(path, 'directory')
    },
  ],
  [30, (g) => remove(g, 'unlink', 'file', 'symlink', 'other', 'file')],
  [1, (g) => g.emit('unlink', g.existing('directory'))],
  [8, (g) => remove(g, 'rmdir', 'directory')],
  [1, (g) => g.emit('rmdir', g.existing('file', 'symlink'))],
  [14, (g, random) => g.emit('chmod', g.existing('file', 'directory', 'other', 'symlink'), random.pick(MODES))],
  [8, (g, random) => g.emit('fchmod', g.openSlot(), random.pick(MODES))],
  [10, (g, random) => chown(g, 'chown', g.existing('file', 'file', 'directory', 'symlink'), id(random), group(random))],
  [5, (g, random) => chown(g, 'fchown', g.openSlot(), id(random), group(random))],
  [
    10,
    (g, random) => g.emit('utimens', g.existing('file', 'directory', 'symlink', 'other'), time(random), time(random)),
  ],
  [5, (g, random) => g.emit('futimens', g.openSlot(), time(random), time(random))],
  [
    20,
    (g, random) =>
      g.emit(
        'setxattr',
        g.existing('file', 'file', 'directory', 'symlink'),
        ...attribute(g),
        random.pick([0, 0, 0, 1, 2]),
      ),
  ],
  [12, (g) => g.emit('getxattr', g.existing('file', 'directory', 'symlink'), attribute(g)[0])],
  [8, (g) => g.emit('listxattr', g.existing('file', 'directory', 'symlink', 'other'))],
  [8, (g) => g.emit('removexattr', g.existing('file', 'directory'), attribute(g)[0])],
  [3, (g, random) => g.emit('umask', random.pick([0, 0o22, 0o77, 0o27, 0o777]) & (random.chance(0.1) ? 0o777 : 0o77))],
  [40, (g) => g.emit('stat', g.existing('file', 'directory', 'symlink', 'other'))],
  [12, (g) => g.emit('readdir', g.directory())],
  [6, (g) => g.emit('readlink', g.existing('symlink', 'symlink', 'symlink', 'file'))],
  [
    8,
    (g, random) => {
      const slot = g.openSlot(random.chance(0.7) ? isReadable : isWritable)
      const mapping = random.below(MAPPINGS)
      const opened = g.opened[g.process]![slot]
      if (opened?.locked) return
      if (opened !== undefined) opened.mapped = true
      const flags = opened?.flags ?? 0
      const shared = random.chance(0.8)
      const pages = random.between(1, 64)
      const protection = (flags & O.ACCMODE) === O.RDWR || !shared ? 3 : 1
      g.emit('mmap', mapping, slot, random.below(100) * PAGE, pages * PAGE, protection, shared ? 1 : 2)
      // A private mapping may or may not see what is written later.
      g.mapped[g.process]![mapping] = { length: pages * PAGE, shared }
    },
  ],
  [
    25,
    (g, random) => {
      const mapping = random.below(MAPPINGS)
      const mapped = g.mapped[g.process]![mapping]
      if (mapped?.shared) g.emit('load', mapping, random.below(mapped.length / PAGE) * PAGE, PAGE)
    },
  ],
  [
    18,
    (g, random) => {
      const mapping = random.below(MAPPINGS)
      const mapped = g.mapped[g.process]![mapping]
      if (mapped === undefined) return
      const at = random.below(mapped.length)
      const syncs = hasLooseTimes(g.recipe.seed) && random.chance(0.7) ? 0 : 1
      g.emit('store', mapping, at, Math.min(random.pick([1, 100, PAGE]), mapped.length - at), g.stamp(), syncs)
    },
  ],
  [
    4,
    (g, random) => {
      const mapping = random.below(MAPPINGS)
      g.emit('munmap', mapping)
      g.mapped[g.process]![mapping] = undefined
    },
  ],
]

/** Where readers and writers go through the same door: what needs descriptors that both read and write, and locks. */
const SAME_DOOR: Row[] = [
  [
    45,
    (g, random) => {
      const aligned = random.chance(0.7)
      const round = (value: number) => (aligned ? value - (value % PAGE) : value)
      const size = random.chance(0.3) ? random.between(1, 300) * PAGE : length(random)
      const [from, to] = [g.openSlot(isReadable), g.openSlot(isWritable)]
      if (![from, to].every((slot) => isBuffered(g.opened[g.process]![slot]))) return
      g.emit('copyRange', from, round(offset(random)), to, round(offset(random)), Math.max(1, round(size)))
    },
  ],
  [
    8,
    (g, random) => {
      const [from, to] = [g.openSlot(isReadable), g.openSlot(isWritable)]
      const [source, target] = [from, to].map((slot) => g.opened[g.process]![slot])
      // Within a file what has been written already is read again, in pieces whose size is the file system's.
      if (!g.recipe.isNative && !(isBuffered(source) && isBuffered(target) && source?.path !== target?.path)) return
      g.emit('sendfile', from, offset(random), to, length(random))
    },
  ],
  [12, (g, random) => withOwnLocks(g, (slot) => g.emit('flock', slot, random.pick([1, 2, 8]) | 4))],
  // F_SETLK and F_OFD_SETLK; F_RDLCK, F_WRLCK, F_UNLCK.
  [10, (g, random) => g.emit('lock', g.openSlot(), 6, random.below(3), ...range(random))],
  [4, (g, random) => withOwnLocks(g, (slot) => g.emit('lock', slot, 37, random.below(3), ...range(random)))],
  [5, (g, random) => g.emit('getLock', g.openSlot(), random.pick([5, 36]), random.below(2), ...range(random))],
  [8, (g, random) => g.emit('access', g.existing('file', 'directory', 'symlink'), random.below(8))],
  [
    10,
    (g, random) => {
      const path = g.anyName()
      // A FIFO below the mount and through it are two: who works below finds nobody at its other end.
      const fifos = g.recipe.belowProcesses === 0 ? [0o010000] : []
      const type = random.pick([0o100000, 0o140000, 0o020000, 0o060000, ...fifos])
      // A device that no driver serves.
      g.emit('mknod', path, type | random.pick(MODES), type === 0o020000 || type === 0o060000 ? (250 << 8) | 7 : 0)
      g.add(path, type === 0o100000 ? 'file' : 'other')
    },
  ],
]

/** Sharing that comes from below, where the mount is not asked. */
const BELOW: Row[] = [
  [
    8,
    (g, random) => {
      const to = random.chance(0.6) ? g.anyName() : g.existing('file')
      g.emitBelow('clone', random.chance(0.5) ? random.pick(['big0', 'big1']) : g.existing('file'), to, 0o666)
      g.add(to, 'file')
    },
  ],
  [
    6,
    (g, random) => {
      const at = offset(random)
      g.emitBelow('dedupe', g.existing('file'), g.existing('file'), at - (at % PAGE), random.between(1, 200) * PAGE)
    },
  ],
  [
    2,
    (g, random) => {
      const path = random.chance(0.3) ? random.pick(['big0', 'big1', 'big0c0']) : g.anyName()
      g.emitBelow('make', path, random.between(1, 400) * PAGE, random.between(1, 4), 0o666)
      g.add(path, 'file')
    },
  ],
]

/** Adds one operation to the program, or now and then none. */
export function ops(g: Generator): void {
  const { readOnly, belowProcesses } = g.recipe
  const rows = [...ALWAYS, ...(readOnly ? [] : SAME_DOOR), ...(readOnly || belowProcesses > 0 ? BELOW : [])]
  let at = g.random.below(rows.reduce((sum, [weight]) => sum + weight, 0))
  for (const [weight, make] of rows) {
    at -= weight
    if (at >= 0) continue
    make(g, g.random)
    return
  }
}
