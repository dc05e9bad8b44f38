import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { takeMemory, viewMemory } from '../../../src/linux/memory.ts'
import {
  allowedCpus,
  bindMemory,
  cpuOfThread,
  currentCpu,
  pagesByNode,
  readCpuNodes,
  readNodes,
} from '../../../src/linux/numa.ts'
import { eventually } from '../../support/eventually.ts'
import { nodesOfPages } from '../../support/nodes-of-pages.ts'
import { describeWith, findProgram } from '../../support/requires.ts'

test('nodes, and the nodes of CPUs, as sysfs shows them', () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-numa-'))
  try {
    const write = (name: string, text: string) => {
      fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true })
      fs.writeFileSync(path.join(directory, name), text)
    }
    write('online', '0,2-3\n')
    write('has_cpu', '0,2\n')
    for (const [node, distances, cpus] of [
      [0, '10 21 30', '0-1,4'],
      [2, '21 10 12', '2'],
      [3, '30 12 10', ''],
    ] as const) {
      write(`node${node}/distance`, `${distances}\n`)
      write(`node${node}/cpulist`, `${cpus}\n`)
      write(`node${node}/meminfo`, `Node ${node} MemTotal:       ${node * 4} kB\nNode ${node} MemFree: 1 kB\n`)
    }
    expect(readNodes(directory, [0, 2, 3])).toEqual([
      {
        number: 0,
        bytes: 0,
        hasCpu: true,
        distances: new Map([
          [0, 10],
          [2, 21],
          [3, 30],
        ]),
      },
      {
        number: 2,
        bytes: 8192,
        hasCpu: true,
        distances: new Map([
          [0, 21],
          [2, 10],
          [3, 12],
        ]),
      },
      {
        number: 3,
        bytes: 12288,
        hasCpu: false,
        distances: new Map([
          [0, 30],
          [2, 12],
          [3, 10],
        ]),
      },
    ])
    expect(readCpuNodes(directory)).toEqual([0, 0, 2, undefined, 0])
    // Of what a cpuset does not let this process have there is none.
    expect(readNodes(directory, [2]).map(({ bytes }) => bytes)).toEqual([0, 8192, 0])
    expect(readNodes(path.join(directory, 'none'))).toEqual([])
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})

describeWith(['numa-policies'], 'on this machine', () => {
  test('pages that were bound lie where they were bound to, both by move_pages and by numa_maps', () => {
    const [memory] = viewMemory(takeMemory(1 << 20, false), 1 << 20)
    bindMemory(memory!, 0)
    memory!.fill(1, 0, 3 * 4096)
    expect([...nodesOfPages([memory!.subarray(0), memory!.subarray(2 * 4096 + 7)])]).toEqual([0, 0])
    expect(nodesOfPages([memory!.subarray(9 * 4096)])[0]).toBeLessThan(0)
    expect(pagesByNode([memory!])).toEqual(new Map([[0, 3]]))
    expect(currentCpu()).toBeLessThan(os.availableParallelism() * 64)
  })

  test('a node without memory is refused', () => {
    const [memory] = viewMemory(takeMemory(4096, false), 4096)
    expect(() => bindMemory(memory!, 63)).toThrow(/EINVAL/)
  })
})

describeWith(['program:taskset'], 'CPUs of threads', () => {
  test('another process is seen where it is bound to, a thread that is not there nowhere', async () => {
    const cpu = allowedCpus().at(-1)!
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-numa-'))
    // A name with what ends it in it.
    fs.copyFileSync(findProgram('sleep')!, path.join(directory, 'x) R 1 2'))
    const child = spawn('taskset', ['-c', String(cpu), path.join(directory, 'x) R 1 2'), '60'], { stdio: 'ignore' })
    try {
      await eventually(() => expect(fs.readFileSync(`/proc/${child.pid}/comm`, 'latin1')).toContain('R 1 2'))
      expect(cpuOfThread(child.pid!)).toBe(cpu)
    } finally {
      child.kill()
      fs.rmSync(directory, { recursive: true })
    }
    expect(cpuOfThread(0)).toBe(-1)
    expect(cpuOfThread(2 ** 22 + 1)).toBe(-1)
  })
})
