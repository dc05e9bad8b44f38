/** `samepage status`: what one mount, or all of this user's, have saved and served. */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import Table from 'cli-table3'
import { Command } from 'commander'
import { PAGE_BYTES } from '../cache/entry.ts'
import { ask, deviceOfControl, listSockets } from '../daemon/control-socket.ts'
import { removeAllDeadSockets } from '../daemon/dead-sockets.ts'
import { mountAt } from '../daemon/mounting.ts'
import type { StatusReport } from '../daemon/status.ts'
import { isOwn, samepageMounts } from '../exclusive/mounts.ts'
import { printableName } from '../inspect/names.ts'
import { runtimeDirectory } from '../util/runtime-directory.ts'
import { UserError } from '../util/user-error.ts'
import { givenPath } from './arguments.ts'
import { jsonHead } from './json.ts'
import { hasDied, realMountpoint, socketOf } from './mountpoint.ts'
import { formatBytes, formatSeconds, report } from './output.ts'

/** A mount that is dead says so at once, but a process takes a while to start on a machine that is busy. */
const DEAD_MS = 5000
/** Exit status of {@link STATFS}, which none of Node.js is. */
const DEAD = 100
/** For a process that asks the mount whose path it is given. */
const STATFS = `try {
  require('node:fs').statfsSync(process.argv[1])
} catch ({ code }) {
  if (code === 'ENOTCONN' || code === 'ECONNABORTED') process.exit(${DEAD})
}`

export function statusCommand(): Command {
  return new Command('status')
    .summary('show what the mounts have saved and served')
    .description(
      'Shows one mount, or all mounts of this user: homes, memory saved, disk pinned, files by how they are served, requests.',
    )
    .argument('[mountpoint]', 'default: all mounts', givenPath)
    .option('--json', 'for programs: one object per mount, in an array; documented in docs/OPERATIONS.md')
    .addHelpText(
      'after',
      '\nExit status: 0 shown (also where there is no mount) · 1 MOUNTPOINT is no Samepage mount, or one does not answer · 2 wrong use.',
    )
    .action(async (mountpoint: string | undefined, flags: { json?: true }) => {
      await removeAllDeadSockets()
      const reports = mountpoint === undefined ? await askAll() : [await askOne(mountpoint)]
      if (flags.json) process.stdout.write(`${JSON.stringify(reports.map(withHead), null, 2)}\n`)
      else if (reports.length === 0 && !process.exitCode) process.stdout.write('No Samepage mount of this user.\n')
      else process.stdout.write(reports.map(describe).join('\n'))
    })
}

/** The report of a mount, whose daemon may be of another version. */
const withHead = (report: StatusReport): object => ({ ...jsonHead('status', report.schema), ...report })

/** All that answer; of the others it is said that they do not. */
async function askAll(): Promise<StatusReport[]> {
  const mounts = samepageMounts()
  const answers = await Promise.allSettled(
    listSockets().map((socket) => {
      const mount = mounts.find(({ device }) => device === deviceOfControl(socket))
      return ask<StatusReport>(socket, '/status', mount === undefined ? {} : { name: mount.mountpoint })
    }),
  )
  for (const answer of answers) if (answer.status === 'rejected') process.exitCode = report(answer.reason)
  const reports = answers.flatMap((answer) => (answer.status === 'fulfilled' && answer.value ? [answer.value] : []))
  const answering = new Set(reports.map(({ mountpoint }) => mountpoint))
  const silent = samepageMounts().filter((mount) => isOwn(mount) && !answering.has(mount.mountpoint))
  for (const { mountpoint } of silent) {
    if (await isDead(mountpoint)) process.exitCode = report(hasDied(mountpoint))
    else if (isElsewhere(mountpoint)) process.exitCode = report(hasOtherDirectory(mountpoint))
  }
  return reports
}

async function askOne(mountpoint: string): Promise<StatusReport> {
  const real = realMountpoint(mountpoint)
  const report = await ask<StatusReport>(socketOf(real), '/status', { name: mountpoint })
  if (report !== undefined) return report
  if (mountAt(real) !== undefined && (await isDead(real))) throw hasDied(mountpoint)
  const mounted = mountAt(real)
  if (mounted !== undefined && isOwn(mounted) && isElsewhere(real)) throw hasOtherDirectory(mountpoint)
  throw new UserError(`no Samepage mount of this user answers at ${mountpoint}`)
}

/** Whether a mount of this user, which is alive, has no socket where this process looks: that goes by an environment variable, but for root. */
const isElsewhere = (mountpoint: string): boolean => process.geteuid?.() !== 0 && !fs.existsSync(socketOf(mountpoint))

const hasOtherDirectory = (mountpoint: string): UserError =>
  new UserError(
    `${mountpoint} does not answer: it is not ready yet, or it was made with another XDG_RUNTIME_DIR; its control socket is not in ${runtimeDirectory()}`,
  )

/** Whether the kernel says that nobody serves it any more. One that is about to be ready, or hangs, says nothing: so another process asks, which can be killed. */
function isDead(mountpoint: string): Promise<boolean> {
  const options = { timeout: DEAD_MS, killSignal: 'SIGKILL' } as const
  return new Promise((resolve) => {
    // Not stat(1): it may be missing, and its words differ.
    execFile(process.execPath, ['--eval', STATFS, '--', mountpoint], options, (error) => resolve(error?.code === DEAD))
  })
}

/** Why files were served by themselves: decisions so far, the most frequent first. */
function privateReasons(counts: StatusReport['homes']['private']): [string, string][] {
  const met = Object.entries(counts).filter(([, count]) => count > 0)
  if (met.length === 0) return []
  const reasons = met.sort(([, a], [, b]) => b - a).map(([reason, count]) => `${reason} (${count})`)
  return [['private because', `${reasons.join(', ')}: opens so far for which it was decided`]]
}

/** Grants so far, and each that is held. */
function grantRows(grants: StatusReport['grants']): [string, string][] {
  if (grants === undefined || grants.granted + grants.refused + grants.wanted + grants.caches === 0) return []
  const { held, wanted, waiting, caches, granted, published, taken, refused } = grants
  const rows: [string, string][] = [
    [
      'grants',
      `${granted} given, ${published} published, ${taken} taken back, ${refused} refused; ${wanted} wanted now`,
    ],
    ['wait for grants', `${waiting} reads and writes`],
    ['attached caches', String(caches)],
  ]
  for (const { path, start, length, pid, uid, seconds } of held)
    rows.push([
      'granted',
      `${printableName(path)}, ${formatBytes(length)} from ${formatBytes(start)} on, to process ${pid} of user ${uid}, for ${formatSeconds(seconds)}`,
    ])
  return rows
}

/** As KSM has them: pages that stand for several, further ones that they stand for, those without an equal, those left alone. */
function describeMerge(merge: NonNullable<StatusReport['merge']>): [string, string][] {
  const held = merge.pageBytes + merge.indexBytes
  return [
    [
      'arena',
      `${formatBytes(held)} of ${formatBytes(merge.memoryMax)}, ${merge.files} files; ${merge.evicted} pages evicted so far`,
    ],
    [
      'merged',
      `${formatBytes(merge.bytesSaved)} saved: ${merge.pagesShared} pages shared, ${merge.pagesSharing} sharing, ${merge.pagesUnshared} unshared, ${merge.pagesVolatile} volatile; ${merge.fullScans} full scans, ${formatSeconds(merge.timeMs / 1000)} of a processor`,
    ],
  ]
}

/** What is read where it lies, and what of it is copied. */
function describeDax(dax: NonNullable<StatusReport['dax']>): [string, string][] {
  const { mode, homes, directPages, directHits, promotedBytes, promotions, demotions, memoryMax } = dax
  // Before anything was opened, too: nobody is to take that for a fault.
  const what =
    homes === 0
      ? 'no home on DAX so far'
      : `${formatBytes(directPages * PAGE_BYTES)} of ${homes} homes, ${directHits} pages read there so far`
  const rows: [string, string][] = [[`DAX (${mode})`, what]]
  if (memoryMax !== undefined)
    rows.push([
      'promoted',
      `${formatBytes(promotedBytes)} now, of ${formatBytes(memoryMax)} that the arena may take; ${promotions} pages so far, ${demotions} demoted`,
    ])
  return rows
}

/** Where the arena's memory lies, and from where it is read. */
function describeNuma(numa: NonNullable<StatusReport['numa']>, bytesRead: number): [string, string][] {
  const nodes = Object.entries(numa.bytesByNode).map(([node, bytes]) => `node ${node} ${formatBytes(bytes)}`)
  const unused = numa.nodesUnused.length > 0 ? `; came later and not used: node ${numa.nodesUnused.join(', ')}` : ''
  const rows: [string, string][] = [
    ['arena on NUMA nodes', `${nodes.join(', ') || 'nothing yet'}${unused}`],
    ['read from afar', `${formatBytes(numa.bytesReadFar)} of ${formatBytes(bytesRead)}`],
  ]
  if (numa.mode === 'replicate')
    rows.push([
      'replicas',
      `${formatBytes(numa.replicaBytes)} now; ${numa.replicasMade} made, ${numa.replicasCollapsed} collapsed so far`,
    ])
  return rows
}

function describe(report: StatusReport): string {
  const { homes, files, bytesRead, merge, dax, numa, watch, near } = report
  const saved = homes.nativeBytes - homes.cachedBytes
  const rows: [string, string][] = [
    ['source', `${printableName(report.source)} (${report.sharing.fileSystem})`],
    [
      'served',
      `for ${formatSeconds(report.uptimeSeconds)} by process ${report.pid}, version ${report.version}, FUSE 7.${report.fuseMinor}`,
    ],
    ['sharing', report.sharing.possible ? 'by address' : `none: ${report.sharing.reason}`],
    ['passthrough', report.passthrough ? 'yes' : 'no: all reads go through the daemon'],
    [
      'memory saved',
      `${formatBytes(saved)}: ${formatBytes(homes.cachedBytes)} held once, ${formatBytes(homes.nativeBytes)} if every file had its own`,
    ],
    [
      'homes',
      `${homes.homes} (${homes.inUse} in use) of ${homes.families} families, ${homes.members} files remembered`,
    ],
    ['pinned on disk', `${formatBytes(homes.pinnedBytes)} that only homes keep`],
    [
      'files',
      `${files.pristine} pristine, ${files.mapped} diverged, ${files.private} private; ${files.open} open, ${files.known} known to the kernel`,
    ],
    ...privateReasons(homes.private),
    [
      'kernel copies',
      `${files.copied} files mapped through the daemon, ${formatBytes(bytesRead.copied)} copied so far`,
    ],
    [
      'read by the daemon',
      `${formatBytes(bytesRead.fromHomes)} from homes, ${formatBytes(bytesRead.fromFiles)} from files${bytesRead.fromArena === undefined ? '' : `, ${formatBytes(bytesRead.fromArena)} from the arena`}`,
    ],
    ...(merge === undefined ? [] : describeMerge(merge)),
    ...(dax === undefined ? [] : describeDax(dax)),
    ...(numa === undefined ? [] : describeNuma(numa, bytesRead.fromArena ?? 0)),
    ...(watch === undefined
      ? []
      : ([
          [
            'changes below',
            `${watch.events} seen, ${watch.notices} times the kernel was told${watch.overflows > 0 ? `, ${watch.overflows} times too many at once` : ''}`,
          ],
        ] satisfies [string, string][])),
    ...(near === undefined
      ? []
      : ([
          [
            `NUMA node ${near.node}`,
            `${near.looked} pages of homes looked at, ${near.elsewhere} lay elsewhere, ${near.moved} of those moved; ${near.readAhead} read ahead`,
          ],
        ] satisfies [string, string][])),
    ...grantRows(report.grants),
    ['the daemon itself', formatBytes(report.memory.residentBytes)],
  ]
  if (report.workers.restarts + report.workers.failures > 0)
    rows.push([
      'trouble',
      `${report.workers.restarts} workers died, ${report.workers.failures} requests failed by a defect`,
    ])
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)
  const table = new Table({
    head: ['request', 'count', 'errors', 'mean', 'p50 <', 'p99 <'],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right'],
  })
  for (const { name, count, errors, meanSeconds, p50Seconds, p99Seconds } of report.requests)
    table.push([
      name.toLowerCase(),
      count,
      errors,
      formatSeconds(meanSeconds),
      formatSeconds(p50Seconds),
      formatSeconds(p99Seconds),
    ])
  const requests = report.requests.length === 0 ? '' : `${table.toString()}\n`
  return `${printableName(report.mountpoint)}\n${lines.join('\n')}\n${requests}`
}
