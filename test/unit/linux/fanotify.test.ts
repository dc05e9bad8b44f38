/** Events as the kernel writes them: frames that were read from XFS and btrfs. */
import { expect, test } from 'vitest'
import { FAN, parseEvents } from '../../../src/linux/fanotify.ts'

/** Event length, version, length of the metadata; the mask; no descriptor; the process. */
const METADATA = (bytes: string, mask: string, pid = 'd77c0000') => `${bytes}00000003001800${mask}ffffffff${pid}`
const FSID = '0407000000000000'
const ROOT = '0c00000081000000800000000000000000000000'
const FILE = '0c0000008100000083000000000000000aaa6a65'
const BTRFS_TOP = '140000004d0000000001000000000000050000000000000003000000'

const CREATED = `${METADATA('3c', '0001000000000000')}02002400${FSID}${ROOT}61626300`
const WRITTEN = `${METADATA('5c', '0a00000000000000')}02002400${FSID}${ROOT}6162630001002000${FSID}${FILE}`
const MOVED = `${METADATA('3c', '8000000000000000')}02002400${FSID}${ROOT}64650000`
const MOVED_ITSELF = `${METADATA('38', '0008000000000000')}01002000${FSID}${FILE}`
const ROOT_CHMOD = `${METADATA('3c', '0400004000000000')}02002400${FSID}${ROOT}2e000000`
const CREATED_ON_BTRFS = `${METADATA('44', '0001000000000000')}02002c007f41ae610694eb43${BTRFS_TOP}61626300`
const OVERFLOW = METADATA('18', '0040000000000000', '00000000')

function parse(...frames: string[]) {
  // In the middle of a larger buffer, as it is read into.
  const bytes = Buffer.concat([Buffer.alloc(3), Buffer.from(frames.join(''), 'hex'), Buffer.alloc(40, 0xff)])
  const events = parseEvents(bytes.subarray(3), bytes.length - 43)
  return events.map(({ mask, pid, inode, directory, name }) => ({
    mask,
    pid,
    inode: inode && Buffer.from(inode).toString('hex'),
    directory: directory && Buffer.from(directory).toString('hex'),
    name: name && Buffer.from(name).toString(),
  }))
}

const NOBODY = { inode: undefined, directory: undefined, name: undefined }
const pid = 0x7cd7

test('names that come and go have a directory and the name', () => {
  expect(parse(CREATED)).toEqual([{ mask: FAN.CREATE, pid, inode: undefined, directory: ROOT, name: 'abc' }])
  expect(parse(MOVED)).toEqual([{ mask: FAN.MOVED_TO, pid, inode: undefined, directory: ROOT, name: 'de' }])
  const [event] = parse(CREATED_ON_BTRFS)
  expect(event).toEqual({ mask: FAN.CREATE, pid, inode: undefined, directory: BTRFS_TOP, name: 'abc' })
})

test('what happens to an inode has its handle, with the name by which it was reached where there is one', () => {
  expect(parse(WRITTEN)).toEqual([
    { mask: FAN.MODIFY | FAN.CLOSE_WRITE, pid, inode: FILE, directory: ROOT, name: 'abc' },
  ])
  expect(parse(MOVED_ITSELF)).toEqual([{ ...NOBODY, mask: FAN.MOVE_SELF, pid, inode: FILE }])
})

test('what happens to a directory has the name "."', () => {
  expect(parse(ROOT_CHMOD)).toEqual([{ ...NOBODY, mask: FAN.ATTRIB | FAN.ONDIR, pid, directory: ROOT, name: '.' }])
})

test('an overflow has nothing', () => {
  expect(parse(OVERFLOW)).toEqual([{ ...NOBODY, mask: FAN.Q_OVERFLOW, pid: 0 }])
})

test('many are told apart, and nothing behind the last is taken for one', () => {
  expect(parse()).toEqual([])
  expect(parse(CREATED, WRITTEN, ROOT_CHMOD, OVERFLOW, MOVED).map(({ mask }) => mask)).toEqual([
    FAN.CREATE,
    FAN.MODIFY | FAN.CLOSE_WRITE,
    FAN.ATTRIB | FAN.ONDIR,
    FAN.Q_OVERFLOW,
    FAN.MOVED_TO,
  ])
})

test('records of a kind that is not known are passed over', () => {
  const withPidfd = `${METADATA('40', '0008000000000000')}0400080007000000` + `01002000${FSID}${FILE}`
  expect(parse(withPidfd)).toEqual([{ ...NOBODY, mask: FAN.MOVE_SELF, pid, inode: FILE }])
})

test('another version, or half an event, is an error', () => {
  expect(() => parse(CREATED.replace('0300', '0400'))).toThrow('version 4')
  expect(() => parse(CREATED, WRITTEN.slice(0, 100))).toThrow('92 bytes')
})
