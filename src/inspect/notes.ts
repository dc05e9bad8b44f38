/** What a reader of the figures has to know about them, as sentences. */
import { formatBytes, formatCount } from '../util/human.ts'
import { printableName } from './names.ts'
import type { Report } from './report.ts'

/** Mounts left out that are named; the others are counted. */
const NAMED = 4

export function notesOn(report: Report): string[] {
  const { changes, direct, unknown, leftOut, unreadable, totals, content } = report
  const notes: string[] = []
  if (changes.vanished + changes.files + changes.directories > 0) {
    notes.push(
      `The tree changed during the walk: ${plural(changes.files, 'file')} and ${plural(changes.directories, 'directory')} changed, ` +
        `${formatCount(changes.vanished)} vanished. The figures are of no single moment.`,
    )
  }
  if (direct.files > 0) {
    notes.push(
      `${plural(direct.files, 'file')} of ${formatBytes(direct.allocatedBytes)} ${direct.files === 1 ? 'is' : 'are'} read where the storage has them, without the page cache (DAX): ` +
        'nothing of them is cached, and clones cost no memory there.',
    )
  }
  if (unknown.residencyFiles > 0) {
    notes.push(
      `Of ${plural(unknown.residencyFiles, 'file')} nobody tells how much is in memory (the kernel tells only their owner, who may ` +
        'write them, and root; and on FUSE, network file systems and ZFS nobody): they count as not cached.',
    )
  }
  if (unknown.sharingFiles > 0) {
    notes.push(
      `Of ${plural(unknown.sharingFiles, 'file')} it is not known whether they share storage (it is on XFS and btrfs): they count as sharing nothing.`,
    )
  }
  if (unknown.sharingFiles > 0 && content !== null) {
    notes.push('What is found equal in these files may share storage already: then it is not stored again.')
  }
  if (unknown.incomparableBytes > 0) {
    notes.push(
      `${formatBytes(unknown.incomparableBytes)} are shared but compressed; which pages are equal cannot be told, so they count as not shared.`,
    )
  }
  if (unknown.dirtyBytes > 0) {
    notes.push(
      `${formatBytes(unknown.dirtyBytes)} of shared storage are being rewritten (dirty pages): they count as their file's own.`,
    )
  }
  if (totals.elsewhereBytes > 0) {
    notes.push(
      `${formatBytes(totals.elsewhereBytes)} are marked as shared though one place of this walk only uses them: the other places are ` +
        'outside (snapshots, other trees, deleted files that are open, homes of a Samepage mount) and not in the figures.',
    )
  }
  for (const why of new Set(leftOut.map((mount) => mount.why))) {
    const mounts = leftOut.filter((mount) => mount.why === why)
    const named = mounts.slice(0, NAMED).map(({ path, kind }) => `${printableName(path)} (${kind})`)
    const more = mounts.length > NAMED ? ` and ${formatCount(mounts.length - NAMED)} more` : ''
    notes.push(`Left out, for ${why}: ${named.join(', ')}${more}.`)
  }
  // Last, for the paths follow it.
  if (unreadable.count > 0) {
    notes.push(`${plural(unreadable.count, 'path')} could not be read and count nowhere.`)
  }
  return notes
}

function plural(count: number, noun: string): string {
  const nouns = noun.endsWith('y') ? `${noun.slice(0, -1)}ies` : `${noun}s`
  return `${formatCount(count)} ${count === 1 ? noun : nouns}`
}
