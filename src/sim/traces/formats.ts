/** Formats in which others publish traces. Each turns text into accesses to pages of 4 KiB, or to blocks as the trace counts them. */
import { PAGE_BYTES } from '../../cache/entry.ts'
import { type Trace, TraceBuilder } from './trace.ts'

type Reader = (line: string, trace: TraceBuilder) => void

/** One block a line, as in the traces of LIRS's authors. Other lines (`*` begins a round) are left out. */
const blocks: Reader = (line, trace) => {
  if (/^\s*\d+\s*$/.test(line)) trace.add(Number(line))
}

/** "first count …": runs of blocks, as in the traces of ARC's authors. */
const runs: Reader = (line, trace) => {
  const [first, count] = line.trim().split(/\s+/)
  trace.addRun(Number(first), Number(count))
}

/**
 * "time,host,disk,Read|Write,offset,bytes,…": MSR Cambridge (SNIA IOTTA). A write takes a page of the cache as a read does. Disks lie
 * behind each other, as if each had 2^40 bytes.
 */
const msr: Reader = (line, trace) => {
  const [, , disk, , offset, bytes] = line.split(',')
  const first = Math.floor(Number(offset) / PAGE_BYTES)
  const end = Math.ceil((Number(offset) + Number(bytes)) / PAGE_BYTES)
  trace.addRun(Number(disk) * 2 ** 28 + first, end - first)
}

const READERS: Readonly<Record<string, Reader>> = { '.trc': blocks, '.trace': blocks, '.lis': runs, '.csv': msr }

/** For people: what {@link readTrace} takes. */
const TRACE_FORMATS = Object.keys(READERS).join(', ')

/** The trace in `text`, whose format the end of `fileName` says. Throws where it is none of {@link TRACE_FORMATS}. */
export function readTrace(fileName: string, text: string): Trace {
  const ending = /\.[^.]*$/.exec(fileName)?.[0] ?? ''
  const read = READERS[ending]
  if (read === undefined) throw new Error(`${fileName}: a trace ends with one of ${TRACE_FORMATS}`)
  const trace = new TraceBuilder()
  for (const line of text.split('\n')) if (line.trim() !== '') read(line, trace)
  return trace.build(fileName.slice(0, -ending.length))
}
