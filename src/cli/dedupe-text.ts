/** What dedupe found and did: for people, and as JSON. */
import type { DedupeResult } from '../dedupe/dedupe.ts'
import { printableName } from '../inspect/names.ts'
import { errnoName } from '../linux/errors.ts'
import { countOf, formatBytes, formatCount, formatSeconds } from '../util/human.ts'
import type { DedupeFlags } from './dedupe-run.ts'
import { jsonHead } from './json.ts'
import { describeError } from './output.ts'

/** An argument that was left aside before anything was read. */
export interface Refused {
  readonly path: string
  /** Name of the errno; null where only sharing is not possible. */
  readonly error: string | null
  readonly why: string
}

interface DedupeFacts {
  readonly paths: readonly string[]
  readonly flags: DedupeFlags
  readonly refused: readonly Refused[]
  readonly result: DedupeResult
  readonly seconds: number
}

/** The answer to --json, version 1; docs/dedupe.md explains each field. */
export function toJson({ paths, flags, refused, result, seconds }: DedupeFacts): object {
  const { counts, walk, plan, applied } = result
  return {
    ...jsonHead('dedupe', 1),
    version: 1,
    paths,
    minRunBytes: flags.minRun,
    domain: flags.domain,
    seconds,
    files: { ...counts, hardLinks: walk.hardLinks, vanished: walk.vanished, notReadToTheEnd: result.failedFiles },
    readBytes: result.readBytes,
    zeroBytes: result.zeroBytes,
    incomparableBytes: result.incomparableBytes,
    plan,
    applied: applied ?? null,
    elsewhere: [...result.elsewhere].map(([kind, why]) => ({ kind, why })),
    leftOut: result.leftOut,
    unreadable: {
      count: walk.unreadable,
      paths: result.unreadable.map(({ path, errno }) => failure(path, errnoName(errno))),
    },
    failed: [...refused, ...result.failed.map(({ path, errno }) => failure(path, errnoName(errno)))],
  }
}

/** Of what could not be read. */
export function failure(path: string, error: string): Refused {
  return { path, error, why: describeError(error) }
}

export function toText(facts: DedupeFacts): string {
  const { paths, result, seconds } = facts
  const head = `${files(result.counts.compared)} compared · ${formatBytes(result.readBytes)} read · ${formatSeconds(seconds)}`
  const sections = [
    `${paths.map(printableName).join(' ')}\n${head}`,
    result.applied === undefined ? planned(result) : done(result),
    notes(result).join('\n'),
    closing(facts),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function planned({ plan }: DedupeResult): string {
  if (plan.runs === 0) return 'Nothing equal is stored more than once.'
  return aligned([
    ['Equal, stored more than once', plan.bytes, `in ${ranges(plan.runs)} of ${files(plan.files)}`],
    ['Would be saved', plan.savedBytes, ''],
  ])
}

function done({ plan, applied }: DedupeResult): string {
  if (applied === undefined || plan.runs === 0) return 'Nothing equal was stored more than once.'
  return aligned([
    ['Equal, stored more than once', plan.bytes, `in ${ranges(plan.runs)} of ${files(plan.files)}`],
    ['Shared now', applied.sharedBytes, `in ${ranges(applied.runs)}`],
    ['Saved', applied.savedBytes, ''],
  ])
}

function notes(result: DedupeResult): string[] {
  const { counts, walk, plan, applied } = result
  const said: string[] = []
  const say = (count: number, sentence: string) => {
    if (count > 0) said.push(sentence)
  }
  const pinned = plan.bytes - plan.savedBytes
  say(
    pinned,
    `${formatBytes(pinned)} of what is equal ${applied === undefined ? 'would free' : 'frees'} nothing: others use the same blocks (snapshots, other trees), or other parts of files here do.`,
  )
  if (applied !== undefined) {
    say(
      applied.differentBytes,
      `${formatBytes(applied.differentBytes)} changed before it was their turn: they are as they were.`,
    )
    say(
      applied.busyBytes,
      `${formatBytes(applied.busyBytes)} are in files that were opened for writing meanwhile: left alone.`,
    )
  }
  const leftAlone: [count: number, why: string][] = [
    [counts.small, 'smaller than --min-run'],
    [counts.busy, 'open for writing'],
    [counts.immutable, 'immutable'],
    [counts.swap, 'swap files'],
    [counts.nodatacow, 'nodatacow'],
    [counts.realtime, 'on a realtime device'],
    [counts.elsewhere, `on other file systems (${[...result.elsewhere.keys()].join(', ')})`],
  ]
  const listed = leftAlone.filter(([count]) => count > 0).map(([count, why]) => `${formatCount(count)} ${why}`)
  if (listed.length > 0) said.push(`Files left alone: ${listed.join(', ')}.`)
  say(
    result.incomparableBytes,
    `${formatBytes(result.incomparableBytes)} are compressed, or lie among metadata: where they share cannot be told, so they are left alone.`,
  )
  for (const { path, kind, why } of result.leftOut) said.push(`Left out: ${printableName(path)} (${kind}): ${why}.`)
  const unread = walk.unreadable + result.failedFiles
  say(unread, `${files(unread)} or directories could not be read to their end.`)
  return said
}

function closing({ flags, result }: DedupeFacts): string {
  if (result.applied?.isInterrupted)
    return 'Interrupted. What is shared stays shared; the same command goes on with the rest.'
  if (flags.apply || result.plan.runs === 0) return ''
  return 'Nothing was changed. The same command with --apply shares it.'
}

function aligned(rows: readonly [label: string, bytes: number, remark: string][]): string {
  const labelWidth = Math.max(...rows.map(([label]) => label.length))
  const amounts = rows.map(([, bytes]) => formatBytes(bytes))
  const width = Math.max(...amounts.map((amount) => amount.length))
  return rows
    .map(([label, , remark], i) => `${label.padEnd(labelWidth)}   ${amounts[i]!.padStart(width)}   ${remark}`.trimEnd())
    .join('\n')
}

const files = (count: number) => countOf(count, 'file')
const ranges = (count: number) => countOf(count, 'range')
