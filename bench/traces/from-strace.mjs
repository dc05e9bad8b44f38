// Turns what strace(1) saw of a program's reads into a trace: `node bench/traces/from-strace.mjs < trace.strace > trace.lis`.
//
//     strace -f -y -s 0 -e trace=openat,read,pread64,mmap,lseek -e signal=none -o trace.strace PROGRAM …
//
// One line for each read: its first page and how many, as in the traces of ARC's authors. Pages are numbered by file, in the order
// in which the files are first read, so that no name and no content is in a trace. A mapping counts as one read of what is mapped: what
// is touched in it nobody sees. Give git(1) small windows (core.packedGitWindowSize).
import readline from 'node:readline'

const PAGE = 4096
/** A mapping of more is a library or an address space, not a look into a file. */
const MAPPING_PAGES_MAX = 64

/** @type {Map<string, number>} path → number of the file */
const files = new Map()
/** @type {number[]} one more than the last page read, by file */
const lengths = []
/** @type {Map<string, number>} "pid path fd" → file offset */
const offsets = new Map()
/** @type {Map<string, string>} pid → a call that has not returned yet */
const unfinished = new Map()
/** @type {{ file: number, page: number, count: number }[]} */
const reads = []

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [, pid = '', text = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? []
  if (text.endsWith('<unfinished ...>')) unfinished.set(pid, text.slice(0, -'<unfinished ...>'.length))
  else
    call(
      pid,
      text.replace(/^<\.\.\. \w+ resumed>/, () => unfinished.get(pid) ?? ''),
    )
}

let start = 0
const starts = lengths.map((length) => {
  start += length
  return start - length
})
for (const { file, page, count } of reads) process.stdout.write(`${starts[file] + page} ${count}\n`)

/** @param {string} pid @param {string} text */
function call(pid, text) {
  const result = Number(/= (-?\d+|0x[0-9a-f]+)/.exec(text)?.[1])
  if (!(result >= 0)) return
  const opened = /^openat\(.*= (\d+)<(\/.*)>$/.exec(text)
  if (opened) return void offsets.set(`${pid} ${opened[2]} ${opened[1]}`, 0)
  const [, name, before = '', fd, path = '', after = ''] = /^(\w+)\((.*?)(\d+)<(\/.*?)>(.*)\) += /.exec(text) ?? []
  if (name === undefined || /^\/(proc|sys|dev)\//.test(path)) return
  const key = `${pid} ${path} ${fd}`
  const last = Number(after.slice(after.lastIndexOf(',') + 1))
  if (name === 'lseek') offsets.set(key, result)
  else if (name === 'pread64') read(path, last, result)
  else if (name === 'read') {
    const offset = offsets.get(key) ?? 0
    read(path, offset, result)
    offsets.set(key, offset + result)
  } else if (name === 'mmap') {
    const bytes = Number(before.split(',')[1])
    if (bytes <= MAPPING_PAGES_MAX * PAGE) read(path, last, bytes)
  }
}

/** @param {string} path @param {number} offset @param {number} bytes */
function read(path, offset, bytes) {
  if (bytes === 0) return
  const file = files.get(path) ?? files.size
  files.set(path, file)
  const page = Math.floor(offset / PAGE)
  const count = Math.ceil((offset + bytes) / PAGE) - page
  lengths[file] = Math.max(lengths[file] ?? 0, page + count)
  reads.push({ file, page, count })
}
