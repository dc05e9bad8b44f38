/** The page that `samepage inspect --html FILE` writes: whole or not at all, and never over anything but an earlier one. */
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { printableName } from '../inspect/names.ts'
import { UserError } from '../util/user-error.ts'
import { describeError, UsageError } from './output.ts'

/** What every page begins with. */
const BEGINNING = '<!doctype html>'

/** Throws what {@link writePage} would throw for the state of things now; for the time before a walk, which may take long. `paths`: what is inspected. */
export function checkPage(file: string, paths: readonly string[]): void {
  named(file, () => {
    const there = fs.statSync(file, { throwIfNoEntry: false })
    if (there === undefined || there.isFile()) fs.accessSync(path.dirname(place(file)), fs.constants.W_OK)
    if (there !== undefined) checkReplaceable(file, there, paths)
  })
}

/**
 * Puts the page in the place of `file`. Whoever reads it meanwhile has the page before, and so has everybody if the disk is full. What is no
 * regular file, a terminal or a pipe, is written to.
 */
export function writePage(file: string, html: string, paths: readonly string[]): void {
  named(file, () => {
    const there = fs.statSync(file, { throwIfNoEntry: false })
    if (there !== undefined && !there.isFile()) return fs.writeFileSync(file, html)
    if (there !== undefined) checkReplaceable(file, there, paths)
    replace(place(file), html, there)
  })
}

/** The path of `file` without symbolic links at its end, also where there is no file yet. */
function place(file: string): string {
  const directory = fs.realpathSync(path.dirname(file))
  const entry = path.join(directory, path.basename(file))
  if (fs.lstatSync(entry, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return entry
  // A chain of links that leads back to itself has been refused by stat.
  return place(path.resolve(directory, fs.readlinkSync(entry)))
}

function checkReplaceable(file: string, there: fs.Stats, paths: readonly string[]): void {
  if (there.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' })
  if (!there.isFile()) return
  const isThis = (other: fs.Stats | undefined) => other?.dev === there.dev && other.ino === there.ino
  if (paths.some((each) => isThis(fs.statSync(each, { throwIfNoEntry: false }))))
    throw new UsageError(`${printableName(file)} is to be inspected, not overwritten: give --html the name of the page`)
  if (isThis(fs.fstatSync(process.stdout.fd)))
    throw new UsageError(`${printableName(file)} is where the report for the terminal goes: give --html another name`)
  if (there.size > 0 && beginningOf(file).toLowerCase() !== BEGINNING)
    throw new UsageError(
      `${printableName(file)} is there already and is no page of inspect: give --html another name, or remove it first`,
    )
}

function beginningOf(file: string): string {
  const fd = fs.openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(BEGINNING.length)
    return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, bytes.length, 0))
  } finally {
    fs.closeSync(fd)
  }
}

/** `before`: the file in whose place it comes, whose owner and permissions it keeps. */
function replace(target: string, html: string, before: fs.Stats | undefined): void {
  const temporary = path.join(path.dirname(target), `.samepage-page-${randomUUID()}`)
  try {
    fs.writeFileSync(temporary, html, { flag: 'wx', flush: true })
    if (before !== undefined) {
      if (process.geteuid?.() === 0) fs.chownSync(temporary, before.uid, before.gid)
      fs.chmodSync(temporary, before.mode & 0o7777)
    }
    fs.renameSync(temporary, target)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error
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
