/**
 * The page that `samepage inspect --html FILE` writes: whole or not at all (but for a FILE on which something is mounted), and never over
 * anything but an earlier one.
 */
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { PAGE_BEGINNING } from '../inspect/html.ts'
import { printableName } from '../inspect/names.ts'
import { statxPath } from '../linux/statx.ts'
import { UserError } from '../util/user-error.ts'
import { describeError, UsageError } from './output.ts'
import { holdSignals } from './signals.ts'

/** Where a page goes. */
interface Place {
  /** Not a symbolic link. */
  readonly path: string
  /** The file that is there, if any. */
  readonly before: fs.Stats | undefined
}

/** Throws what {@link writePage} would throw for the state of things now; for the time before a walk, which may take long. `paths`: what is inspected. */
export function checkPage(file: string, paths: readonly string[]): void {
  named(file, () => {
    const place = findPlace(file, paths)
    if (place === undefined) return
    fs.accessSync(isMountpoint(place) ? place.path : path.dirname(place.path), fs.constants.W_OK)
  })
}

/**
 * Puts the page in the place of `file`. Whoever reads it meanwhile has the page before, and so has everybody if the disk is full. What is no
 * regular file, a terminal or a pipe, is written to.
 */
export function writePage(file: string, html: string, paths: readonly string[]): void {
  named(file, () => {
    const place = findPlace(file, paths)
    if (place === undefined) fs.writeFileSync(file, html)
    else if (isMountpoint(place)) overwrite(place, html)
    else replace(place, html)
  })
}

/** Where the page goes, after it was checked that it may; undefined where it is to be written to what is no regular file. */
function findPlace(file: string, paths: readonly string[]): Place | undefined {
  const before = fs.statSync(file, { throwIfNoEntry: false })
  if (before?.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' })
  if (before !== undefined && !before.isFile()) return undefined
  const place = { path: followLinks(file), before }
  // Another file than `file` would be replaced if the links lead elsewhere by now, or, as those of /proc/self/fd, to a name that is gone.
  checkUnchanged(place)
  if (before !== undefined) checkReplaceable(file, place.path, before, paths)
  return place
}

/**
 * The path of `file` without symbolic links at its end, also where there is no file yet. Nothing in it is shortened: in `link/../page`, `..` is the
 * parent of where the link leads, which the kernel knows, not path.join or path.resolve.
 */
function followLinks(file: string): string {
  const directory = path.dirname(file)
  const entry = `${directory}/${path.basename(file)}`
  if (fs.lstatSync(entry, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return entry
  const target = fs.readlinkSync(entry)
  // A chain of links that leads back to itself has been refused by stat.
  return followLinks(path.isAbsolute(target) ? target : `${directory}/${target}`)
}

const isSameFile = (a: fs.Stats | undefined, b: fs.Stats | undefined) => a?.dev === b?.dev && a?.ino === b?.ino

function checkUnchanged({ path, before }: Place): void {
  if (!isSameFile(fs.lstatSync(path, { throwIfNoEntry: false }), before)) throw changed(path)
}

const changed = (path: string) =>
  new UserError(`${printableName(path)} was made, replaced or removed by somebody else meanwhile`)

function checkReplaceable(name: string, file: string, there: fs.Stats, paths: readonly string[]): void {
  if (paths.some((each) => isSameFile(fs.statSync(each, { throwIfNoEntry: false }), there)))
    throw new UsageError(`${printableName(name)} is to be inspected, not overwritten: give --html the name of the page`)
  if (isSameFile(fs.fstatSync(process.stdout.fd), there))
    throw new UsageError(`${printableName(name)} is where the report for the terminal goes: give --html another name`)
  if (there.size > 0 && beginningOf(file) !== PAGE_BEGINNING)
    throw new UsageError(
      `${printableName(name)} is there already and is no page of inspect: give --html another name, or remove it first`,
    )
}

function beginningOf(file: string): string {
  const fd = fs.openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(PAGE_BEGINNING.length)
    return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, bytes.length, 0))
  } finally {
    fs.closeSync(fd)
  }
}

/** Is something mounted on the file itself, as containers do it? No other file can be renamed over it (EBUSY). */
function isMountpoint({ path, before }: Place): boolean {
  return before !== undefined && statxPath(path).isMountRoot
}

/** Writes the page into the file that is there. It keeps its beginning if the disk is full, and so can be written again. */
function overwrite({ path, before }: Place, html: string): void {
  const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NOFOLLOW)
  try {
    if (!isSameFile(fs.fstatSync(fd), before)) throw changed(path)
    fs.ftruncateSync(fd)
    fs.writeFileSync(fd, html)
  } finally {
    fs.closeSync(fd)
  }
}

/** Puts a new file with the page in the place of the one that is there, if any. */
function replace(place: Place, html: string): void {
  const temporary = `${path.dirname(place.path)}/.samepage-page-${randomUUID()}`
  const release = holdSignals()
  let fd = -1
  try {
    // What nobody else may read is not to be had meanwhile, either.
    fd = fs.openSync(temporary, 'wx', place.before === undefined ? 0o666 : 0o600)
    fs.writeFileSync(fd, html)
    if (place.before !== undefined) keepAccess(fd, place.before)
    fs.fsyncSync(fd)
    checkUnchanged(place)
    fs.renameSync(temporary, place.path)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error
  } finally {
    if (fd >= 0) fs.closeSync(fd)
    release()
  }
}

/** Gives the file that is open the permissions of `before`, and its owner and group as far as this process may give files away. */
function keepAccess(fd: number, before: fs.Stats): void {
  chownIfAllowed(fd, -1, before.gid)
  const { mode } = before
  // What the group was allowed is not for another group, which gets what all others get.
  const isGroupKept = fs.fstatSync(fd).gid === before.gid
  fs.fchmodSync(fd, isGroupKept ? mode & 0o777 : (mode & 0o707) | ((mode & 0o007) << 3))
  // Last: only the owner may change permissions.
  chownIfAllowed(fd, before.uid, -1)
}

function chownIfAllowed(fd: number, uid: number, gid: number): void {
  try {
    fs.fchownSync(fd, uid, gid)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // EINVAL: in a user namespace, of an owner whom it does not know.
    if (code !== 'EPERM' && code !== 'EINVAL') throw error
  }
}

/** Runs `action`, whose errors of the system then name the file that was given. */
function named(file: string, action: () => void): void {
  try {
    action()
  } catch (error) {
    if (error instanceof UserError) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new UserError(`${printableName(file)}: ${describeError(code)}`)
  }
}
