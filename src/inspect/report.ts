/**
 * A measurement as a report: plain data, the same for all forms of output. `--json` prints it as it is; docs/inspect.md
 * documents each field, and FORMAT_VERSION counts changes that break a reader.
 */
import { describeError, errnoName } from '../linux/errors.ts'
import { formatBytes, formatCount } from '../util/human.ts'
import { version } from '../util/version.ts'
import type { ContentReport } from './content.ts'
import { joinPath, NO_DIRECTORY } from './directories.ts'
import { GroupTable } from './groups.ts'
import { largest } from './largest.ts'
import type { Measurement } from './measure.ts'
import { printableName } from './names.ts'
import { notesOn } from './notes.ts'
import type { PathError } from './selection.ts'

const FORMAT = 'samepage-inspect'
const FORMAT_VERSION = 1

/** What every row has, whether of a file, a group or a directory. Whole bytes. */
export interface Figures {
  sizeBytes: number
  allocatedBytes: number
  /** Files and directories: bytes of theirs whose blocks another place uses, too. Groups: such blocks, each counted once. */
  sharedBytes: number
  cachedBytes: number
  duplicateBytes: number
  potentialBytes: number
  rereadBytes: number
}

interface DirectoryRow extends Figures {
  path: string
  files: number
  sharingFiles: number
}

interface GroupRow extends Figures {
  /** The member with most in memory. */
  path: string
  /** The directory that all members are in or below. */
  directory: string
  files: number
}

export interface FileRow extends Figures {
  path: string
  /** Extents, merged where one continues the other. */
  pieces: number
  cachedAgainBytes: number
}

interface NamedError {
  path: string
  /** Name of the errno. */
  error: string
  /** The same in words. */
  why: string
}

export interface Report {
  format: typeof FORMAT
  version: typeof FORMAT_VERSION
  /** The same, by the name that it has in the JSON of all commands. */
  schema: typeof FORMAT_VERSION
  samepage: string
  startedAt: string
  paths: string[]
  walkSeconds: number
  sweepSeconds: number
  totals: Figures & {
    files: number
    sharingFiles: number
    directories: number
    others: number
    hardLinks: number
    groups: number
    diskBytes: number
    cachedAgainBytes: number
    elsewhereBytes: number
  }
  filesystems: { kind: string; identity: string; files: number; sharing: string; residency: string }[]
  directories: DirectoryRow[]
  groups: GroupRow[]
  files: FileRow[]
  divided: FileRow[]
  content: ContentReport | null
  direct: { files: number; allocatedBytes: number }
  unknown: { residencyFiles: number; sharingFiles: number; incomparableBytes: number; dirtyBytes: number }
  changes: { vanished: number; files: number; directories: number }
  leftOut: { path: string; kind: string; why: string }[]
  unreadable: { count: number; paths: NamedError[] }
  failed: NamedError[]
  notes: string[]
}

/** A report with at most `top` rows (Infinity: all) in each of its tables. */
export function buildReport(measurement: Measurement, top: number, content: ContentReport | null): Report {
  const { counts, sums, files, directories } = measurement
  const groups = new GroupTable(files, directories)
  const groupCount = countOf(groups.all())
  const sharingCount = countOf(sharing(measurement))

  const report: Report = {
    format: FORMAT,
    version: FORMAT_VERSION,
    schema: FORMAT_VERSION,
    samepage: version,
    startedAt: new Date(measurement.startedAt_ms).toISOString(),
    paths: [...measurement.options.paths],
    walkSeconds: measurement.walk_ms / 1000,
    sweepSeconds: measurement.sweep_ms / 1000,
    totals: {
      files: measurement.fileCount,
      sharingFiles: sharingCount,
      directories: counts.directories,
      others: counts.others,
      hardLinks: counts.hardLinks,
      groups: groupCount,
      sizeBytes: measurement.size,
      allocatedBytes: measurement.allocated,
      diskBytes: measurement.allocated - sums.saved,
      sharedBytes: sums.shared,
      cachedBytes: measurement.cached,
      cachedAgainBytes: sums.cachedAgain,
      duplicateBytes: sums.duplicate,
      potentialBytes: sums.potential,
      rereadBytes: sums.reread,
      elsewhereBytes: sums.elsewhere,
    },
    filesystems: measurement.filesystems
      // Mountpoints of others were looked at, and not entered.
      .filter(({ files }) => files > 0)
      .map(({ identified, files, sharing, residency }) => ({
        kind: identified.kind,
        identity: identified.identity,
        files,
        sharing,
        residency,
      })),
    directories: largest(specificDirectories(measurement), top, keysOf(directories)).map((directory) => ({
      path: directories.path(directory),
      files: directories.files[directory]!,
      sharingFiles: directories.sharing[directory]!,
      ...figuresOf(directories, directory),
    })),
    groups: largest(groups.all(), top, keysOf(groups)).map((group) => ({
      path: pathOfFile(measurement, groups.largest[group]!),
      directory: groups.directory[group] === NO_DIRECTORY ? '' : directories.path(groups.directory[group]!),
      files: groups.members[group]!,
      ...figuresOf(groups, group),
    })),
    files: largest(sharing(measurement), top, keysOf(files)).map((file) => fileRow(measurement, file)),
    divided: largest(divided(measurement), top, [(file) => files.pieces[file]!, (file) => files.size[file]!]).map(
      (file) => fileRow(measurement, file),
    ),
    content,
    direct: { files: measurement.directFiles, allocatedBytes: measurement.directAllocated },
    unknown: {
      residencyFiles: measurement.residencyUnknown,
      sharingFiles: measurement.sharingUnknown,
      incomparableBytes: measurement.incomparable,
      dirtyBytes: measurement.unstable,
    },
    changes: {
      vanished: counts.vanished,
      files: measurement.changedFiles,
      directories: measurement.changedDirectories,
    },
    leftOut: [...measurement.leftOut],
    unreadable: { count: counts.unreadable, paths: measurement.unreadable.map(namedError) },
    failed: measurement.failed.map(namedError),
    notes: [],
  }
  report.notes = notesOn(report)
  return report
}

/** A sum for people, of which the part of `unknownFiles` is missing. */
function sumOfKnown(bytes: number, unknownFiles: number): string {
  if (unknownFiles === 0) return formatBytes(bytes)
  return bytes === 0 ? 'unknown' : `≥ ${formatBytes(bytes)}`
}

/** The sums of a report for people: the same words on the terminal and on the page. */
export function shownSums({ totals, unknown }: Report): {
  disk: string
  shared: string
  cached: string
  duplicate: string
  potential: string
  reread: string
} {
  const { residencyFiles, sharingFiles } = unknown
  return {
    // What may be shared counts as if it were not.
    disk: `${sharingFiles === 0 ? '' : '≤ '}${formatBytes(totals.diskBytes)}`,
    shared: sumOfKnown(totals.sharedBytes, sharingFiles),
    cached: sumOfKnown(totals.cachedBytes, residencyFiles),
    duplicate: sumOfKnown(totals.duplicateBytes, residencyFiles + sharingFiles),
    potential: sumOfKnown(totals.potentialBytes, sharingFiles),
    reread: sumOfKnown(totals.rereadBytes, residencyFiles + sharingFiles),
  }
}

/** A group for people: the largest member, and what is with it where. */
export function groupName({ path, directory, files }: GroupRow): string {
  const name = printableName(path)
  if (files === 1) return `${name} (shares with itself)`
  const others = `${formatCount(files - 1)} more`
  const isBeside = path.slice(0, path.lastIndexOf('/')) === directory
  return isBeside || directory === '' ? `${name} and ${others}` : `${name} and ${others} in ${printableName(directory)}`
}

/** Path of a file that shares storage. */
function pathOfFile({ files, directories }: Measurement, file: number): string {
  return joinPath([directories.path(files.directory[file]!), files.name[file]!])
}

function fileRow(measurement: Measurement, file: number): FileRow {
  const { files } = measurement
  return {
    path: pathOfFile(measurement, file),
    pieces: files.pieces[file]!,
    cachedAgainBytes: files.cachedAgain[file]!,
    ...figuresOf(files, file),
  }
}

/** The columns that files, groups and directories have in common. */
type Columns = Record<'size' | 'allocated' | 'shared' | 'cached' | 'duplicate' | 'potential' | 'reread', Float64Array>

function figuresOf(columns: Columns, at: number): Figures {
  return {
    sizeBytes: columns.size[at]!,
    allocatedBytes: columns.allocated[at]!,
    sharedBytes: columns.shared[at]!,
    cachedBytes: columns.cached[at]!,
    // A file's part of a copy too many is a fraction: see sweep.ts.
    duplicateBytes: Math.round(columns.duplicate[at]!),
    potentialBytes: Math.round(columns.potential[at]!),
    rereadBytes: Math.round(columns.reread[at]!),
  }
}

/** Orders rows: what wastes most now, then what could, then what is largest in memory. */
function keysOf(columns: Columns): ((at: number) => number)[] {
  return [
    (at) => Math.round(columns.duplicate[at]!),
    (at) => Math.round(columns.potential[at]!),
    (at) => columns.cached[at]!,
    (at) => columns.allocated[at]!,
  ]
}

/** Files that share blocks with another place of the walk. */
function* sharing({ files }: Measurement): Generator<number> {
  for (let file = 0; file < files.count; file++) if (files.shared[file]! > 0) yield file
}

/** Files that lie in more than one piece and share some of it. */
function* divided(measurement: Measurement): Generator<number> {
  for (const file of sharing(measurement)) if (measurement.files.pieces[file]! > 1) yield file
}

/** The directories that hold data, without those of which one subdirectory holds everything. */
function* specificDirectories({ directories }: Measurement): Generator<number> {
  const { parent, allocated, cached, sharing: sharingFiles } = directories
  const covered = new Set<number>()
  for (const directory of directories.kept()) {
    const above = parent[directory]!
    if (
      above !== NO_DIRECTORY &&
      allocated[above] === allocated[directory] &&
      cached[above] === cached[directory] &&
      sharingFiles[above] === sharingFiles[directory]
    ) {
      covered.add(above)
    }
  }
  for (const directory of directories.kept()) {
    if (allocated[directory]! + cached[directory]! > 0 && !covered.has(directory)) yield directory
  }
}

function countOf(items: Iterable<unknown>): number {
  let count = 0
  for (const _ of items) count++
  return count
}

function namedError({ path, errno }: PathError): NamedError {
  const error = errnoName(errno)
  return { path, error, why: describeError(error) }
}
