/**
 * The protocol's numbers against the kernel's own header, as the C compiler sees it. The header may be older than the
 * newest protocol: what it does not have yet is left out.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import * as protocol from '../../../src/fuse/protocol.ts'
import { describeWith } from '../../support/requires.ts'

/** struct of the header ← size here. */
const SIZES: Record<string, number> = {
  fuse_in_header: protocol.IN_HEADER_BYTES,
  fuse_out_header: protocol.OUT_HEADER_BYTES,
  fuse_attr: protocol.ATTR_BYTES,
  fuse_attr_out: protocol.ATTR_OUT_BYTES,
  fuse_entry_out: protocol.ENTRY_OUT_BYTES,
  fuse_open_out: protocol.OPEN_OUT_BYTES,
  fuse_init_out: protocol.INIT_OUT_BYTES,
  fuse_statfs_out: protocol.STATFS_OUT_BYTES,
  fuse_lseek_out: protocol.LSEEK_OUT_BYTES,
  fuse_getxattr_out: protocol.XATTR_SIZE_OUT_BYTES,
  fuse_write_out: protocol.WRITE_OUT_BYTES,
  fuse_ioctl_out: protocol.IOCTL_OUT_BYTES,
  fuse_setxattr_in: protocol.SETXATTR_IN_BYTES.extended,
  fuse_notify_inval_inode_out: 24,
  fuse_notify_inval_entry_out: 16,
}

/** What follows the header in each request: a struct, and names that have at least one byte and a NUL. */
const BODIES: Record<protocol.OpcodeName, [struct: string, names: number]> = {
  LOOKUP: ['', 1],
  FORGET: ['fuse_forget_in', 0],
  GETATTR: ['fuse_getattr_in', 0],
  SETATTR: ['fuse_setattr_in', 0],
  READLINK: ['', 0],
  SYMLINK: ['', 2],
  MKNOD: ['fuse_mknod_in', 1],
  MKDIR: ['fuse_mkdir_in', 1],
  UNLINK: ['', 1],
  RMDIR: ['', 1],
  RENAME: ['fuse_rename_in', 2],
  LINK: ['fuse_link_in', 1],
  OPEN: ['fuse_open_in', 0],
  READ: ['fuse_read_in', 0],
  WRITE: ['fuse_write_in', 0],
  STATFS: ['', 0],
  RELEASE: ['fuse_release_in', 0],
  FSYNC: ['fuse_fsync_in', 0],
  SETXATTR: ['FUSE_COMPAT_SETXATTR_IN_SIZE', 1],
  GETXATTR: ['fuse_getxattr_in', 1],
  LISTXATTR: ['fuse_getxattr_in', 0],
  REMOVEXATTR: ['', 1],
  FLUSH: ['fuse_flush_in', 0],
  INIT: ['', 0],
  OPENDIR: ['fuse_open_in', 0],
  READDIR: ['fuse_read_in', 0],
  RELEASEDIR: ['fuse_release_in', 0],
  FSYNCDIR: ['fuse_fsync_in', 0],
  GETLK: ['fuse_lk_in', 0],
  SETLK: ['fuse_lk_in', 0],
  SETLKW: ['fuse_lk_in', 0],
  ACCESS: ['fuse_access_in', 0],
  CREATE: ['fuse_create_in', 1],
  INTERRUPT: ['fuse_interrupt_in', 0],
  BMAP: ['fuse_bmap_in', 0],
  DESTROY: ['', 0],
  IOCTL: ['fuse_ioctl_in', 0],
  POLL: ['fuse_poll_in', 0],
  BATCH_FORGET: ['fuse_batch_forget_in', 0],
  FALLOCATE: ['fuse_fallocate_in', 0],
  READDIRPLUS: ['fuse_read_in', 0],
  RENAME2: ['fuse_rename2_in', 2],
  LSEEK: ['fuse_lseek_in', 0],
  COPY_FILE_RANGE: ['fuse_copy_file_range_in', 0],
  SYNCFS: ['fuse_syncfs_in', 0],
  TMPFILE: ['fuse_create_in', 1],
  STATX: ['fuse_statx_in', 0],
}

/** struct.field of the header → where it is said to be at the head of protocol.ts, or where messages.ts and init.ts put it. */
const OFFSETS: Record<string, number> = {
  'fuse_in_header.opcode': 4,
  'fuse_in_header.unique': 8,
  'fuse_in_header.nodeid': 16,
  'fuse_in_header.uid': 24,
  'fuse_in_header.gid': 28,
  'fuse_in_header.pid': 32,
  'fuse_out_header.error': 4,
  'fuse_out_header.unique': 8,
  'fuse_attr.size': 8,
  'fuse_attr.blocks': 16,
  'fuse_attr.atime': 24,
  'fuse_attr.mtime': 32,
  'fuse_attr.ctime': 40,
  'fuse_attr.atimensec': 48,
  'fuse_attr.mtimensec': 52,
  'fuse_attr.ctimensec': 56,
  'fuse_attr.mode': 60,
  'fuse_attr.nlink': 64,
  'fuse_attr.uid': 68,
  'fuse_attr.gid': 72,
  'fuse_attr.rdev': 76,
  'fuse_attr.blksize': 80,
  'fuse_attr.flags': 84,
  'fuse_entry_out.generation': 8,
  'fuse_entry_out.entry_valid': 16,
  'fuse_entry_out.attr_valid': 24,
  'fuse_entry_out.entry_valid_nsec': 32,
  'fuse_entry_out.attr_valid_nsec': 36,
  'fuse_entry_out.attr': 40,
  'fuse_attr_out.attr_valid_nsec': 8,
  'fuse_attr_out.attr': 16,
  'fuse_dirent.off': 8,
  'fuse_dirent.namelen': 16,
  'fuse_dirent.type': 20,
  'fuse_dirent.name': protocol.DIRENT_HEADER_BYTES,
  'fuse_lseek_in.offset': 8,
  'fuse_lseek_in.whence': 16,
  'fuse_init_in.max_readahead': 8,
  'fuse_init_in.flags': 12,
  'fuse_init_in.flags2': 16,
  'fuse_init_out.max_readahead': 8,
  'fuse_init_out.flags': 12,
  'fuse_init_out.max_background': 16,
  'fuse_init_out.congestion_threshold': 18,
  'fuse_init_out.max_write': 20,
  'fuse_init_out.time_gran': 24,
  'fuse_init_out.max_pages': 28,
  'fuse_init_out.flags2': 32,
  'fuse_notify_inval_entry_out.namelen': 8,
  'fuse_notify_inval_entry_out.flags': 12,
  'fuse_notify_inval_inode_out.off': 8,
  'fuse_notify_inval_inode_out.len': 16,
}

/** A version of the protocol that has all fields, Linux 6.1's, but for those that were named, or renamed, later. */
const MINOR = 38n
const NEWER: ReadonlySet<string> = new Set(['fuse_open_out.backing_id'])

/** `fhOutUpper`, the upper half of what the header calls `fh_out`. */
const inHeader = (field: string) =>
  field.replace(/Upper$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Of IN or OUT, as {@link OFFSETS}. */
const placesIn = (fields: Readonly<Record<string, number>>, struct: string): [string, number][] =>
  Object.entries(fields)
    .filter(([field]) => field !== 'body')
    .map(([field, at]) => [`${struct}.${inHeader(field)}`, field.endsWith('Upper') ? at - 4 : at])

const PLACES: [string, number][] = [
  ...Object.entries(OFFSETS),
  ...Object.entries(protocol.IN).flatMap(([name, fields]) =>
    placesIn(fields, BODIES[name as keyof typeof protocol.IN][0]),
  ),
  ...Object.entries(protocol.OUT).flatMap(([name, fields]) => placesIn(fields, `fuse_${name.toLowerCase()}_out`)),
]

/** Names of the header with a value here; flags2 stands in one number with flags there. */
const CONSTANTS: Record<string, bigint> = Object.fromEntries([
  ['FUSE_KERNEL_VERSION', BigInt(protocol.KERNEL_VERSION)],
  ['FUSE_READ_LOCKOWNER', BigInt(protocol.READ_LOCKOWNER)],
  ['FUSE_COMPAT_SETXATTR_IN_SIZE', BigInt(protocol.SETXATTR_IN_BYTES.compat)],
  ...Object.entries(protocol.INIT).map(([name, value]) => [`FUSE_${name}`, BigInt(value)]),
  ...Object.entries(protocol.INIT2).map(([name, value]) => [`FUSE_${name}`, BigInt(value) << 32n]),
  ...Object.entries(protocol.FOPEN).map(([name, value]) => [`FOPEN_${name}`, BigInt(value)]),
])

describeWith(['program:gcc', 'fuse-header'], "the kernel's header", () => {
  const header = new Map<string, bigint>()

  beforeAll(() => {
    const text = fs.readFileSync('/usr/include/linux/fuse.h', 'utf8')
    const has = (word: string) => new RegExp(`\\b${word}\\b`).test(text)
    const lines: string[] = []
    const print = (name: string, expression: string) =>
      lines.push(`printf("${name} %llu\\n", (unsigned long long)(${expression}));`)
    const structs = [...Object.keys(SIZES), ...Object.values(BODIES).map(([struct]) => struct)]
    for (const struct of new Set(structs))
      if (struct.startsWith('fuse_') && has(`struct ${struct}`)) print(struct, `sizeof(struct ${struct})`)
    print('FUSE_COMPAT_SETXATTR_IN_SIZE', 'FUSE_COMPAT_SETXATTR_IN_SIZE')
    for (const [place] of PLACES) {
      const [struct, field] = place.split('.') as [string, string]
      const body = new RegExp(`struct ${struct} \\{[^}]*\\b${field}\\b`)
      if (body.test(text)) print(place, `offsetof(struct ${struct}, ${field})`)
    }
    for (const name of Object.keys(CONSTANTS)) if (has(name)) print(name, name)
    for (const { name } of protocol.OPCODE_ROWS) if (has(`FUSE_${name}`)) print(`opcode ${name}`, `FUSE_${name}`)
    for (const name of Object.keys(protocol.NOTIFY))
      if (has(`FUSE_NOTIFY_${name}`)) print(`notify ${name}`, `FUSE_NOTIFY_${name}`)
    print('minor', 'FUSE_KERNEL_MINOR_VERSION')

    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-abi-'))
    try {
      const program = path.join(directory, 'abi')
      const source = `#include <linux/fuse.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n${lines.join('\n')}\nreturn 0;\n}\n`
      fs.writeFileSync(`${program}.c`, source)
      const compiled = spawnSync('gcc', ['-w', '-o', program, `${program}.c`], { encoding: 'utf8' })
      expect(compiled.stderr).toBe('')
      for (const line of spawnSync(program, { encoding: 'utf8' }).stdout.trim().split('\n')) {
        const space = line.lastIndexOf(' ')
        header.set(line.slice(0, space), BigInt(line.slice(space + 1)))
      }
    } finally {
      fs.rmSync(directory, { recursive: true })
    }
    expect(header.size).toBeGreaterThan(150)
  })

  /** Compares what the header has of `ours`. */
  function expectSame(ours: [string, number | bigint][]): void {
    const known = ours.filter(([name]) => header.has(name))
    expect(known.length).toBeGreaterThan(0)
    expect(known.map(([name, value]) => `${name} ${value}`)).toEqual(
      known.map(([name]) => `${name} ${header.get(name)}`),
    )
  }

  test('sizes of structures', () => expectSame(Object.entries(SIZES)))
  test('places of fields', () => {
    expectSame(PLACES)
    // All others are misspelt, if the header has the protocol's version that they are of.
    const unknown = PLACES.filter(([place]) => !header.has(place)).map(([place]) => place)
    if (header.get('minor')! >= MINOR) expect(unknown.filter((place) => !NEWER.has(place))).toEqual([])
  })
  test('where what has no fixed length begins', () =>
    expectSame(
      Object.entries(protocol.IN).flatMap(([name, fields]) =>
        'body' in fields ? [[BODIES[name as keyof typeof protocol.IN][0], fields.body] as [string, number]] : [],
      ),
    ))
  test('flags and other constants', () => expectSame(Object.entries(CONSTANTS)))
  test('numbers of opcodes and notifications', () => {
    expectSame(protocol.OPCODE_ROWS.map(({ name, code }) => [`opcode ${name}`, code]))
    expectSame(Object.entries(protocol.NOTIFY).map(([name, code]) => [`notify ${name}`, code]))
  })

  test('the shortest request of each opcode', () => {
    for (const { name, bytesMin } of protocol.OPCODE_ROWS) {
      const [struct, names] = BODIES[name]
      // INIT's grew with the protocol: 16 bytes is what the first had, of which more is read only where it is there.
      if (name === 'INIT' || (struct !== '' && !header.has(struct))) continue
      expect(`${name} ${bytesMin}`).toBe(`${name} ${Number(struct === '' ? 0n : header.get(struct)) + names * 2}`)
    }
  })
})
