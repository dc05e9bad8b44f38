/** Plays programs: on the tree under test and on its twin, one operation after the other, and compares. */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { AWAY } from './calls.ts'
import { agrees, difference, Periods, withoutFifoTimes, withoutFileTimes } from './compare.ts'
import type { Order } from './performer.ts'
import { isCopy, type Op, type Outcome, printOp, userOf } from './program.ts'

/** Where the trees are, and who works in them. */
export interface Stage {
  /** The directory whose mount is tested, seen natively. */
  source: string
  /** The same through the mount; the source itself when native is tested against native. */
  mounted: string
  twin: string
  processes: number
  users: number
  belowProcesses: number
  readOnly: boolean
  /** May a reader keep what it opened? */
  closeToOpen: boolean
  /** Does a change leave the same pages shared as natively? A store to a mapping there is written back in the kernel's pieces. */
  sharesAlike: boolean
  fault: string
}

export interface Failure {
  /** After which operation; undefined: when all was done. */
  op?: Op
  /** The kind, to tell one failure from another when a program is made shorter. */
  what: string
  wanted: string
  got: string
}

/** How long one order may take: a mount that does not answer has failed. */
const PATIENCE_MS = 60_000
/** How long nobody does anything between two periods: several ticks of the slowest kernel clock. */
const TICK_MS = 30

/** A child process of the cast. */
class Performer {
  readonly #child: ChildProcess
  readonly user: number
  #pending = ''
  #settle: ((line: string | undefined) => void) | undefined
  isGone = false

  constructor(user: number) {
    this.user = user
    const script = fileURLToPath(new URL('./performer.js', import.meta.url))
    this.#child = spawn(process.execPath, [script, String(user)], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdin?.on('error', () => {})
    this.#child.stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.#pending += text
      if (!text.endsWith('\n')) return
      const line = this.#pending
      this.#pending = ''
      this.#settle?.(line)
    })
    this.#child.once('close', () => {
      this.isGone = true
      this.#settle?.(undefined)
    })
  }

  /** Rejects when the process has died or does not answer. */
  async ask<T>(order: Order): Promise<T> {
    if (this.isGone) throw new Error('the process has died')
    let timer: NodeJS.Timeout | undefined
    const answer = await new Promise<string | undefined>((resolve) => {
      this.#settle = resolve
      timer = setTimeout(() => resolve('hangs'), PATIENCE_MS)
      this.#child.stdin?.write(`${JSON.stringify(order)}\n`)
    })
    clearTimeout(timer)
    this.#settle = undefined
    if (answer === undefined) throw new Error(`the process died in ${JSON.stringify(order).slice(0, 2000)}`)
    if (answer === 'hangs') {
      this.stop()
      throw new Error(`no answer within ${PATIENCE_MS / 1000} s to ${JSON.stringify(order).slice(0, 2000)}`)
    }
    return JSON.parse(answer) as T
  }

  stop(): void {
    this.isGone = true
    this.#child.kill('SIGKILL')
  }
}

export class Player implements Disposable {
  readonly #stage: Stage
  #tested: Performer[] = []
  #twins: Performer[] = []
  #takes = 0
  /** Operations performed, in all takes. */
  performed = 0

  constructor(stage: Stage) {
    this.#stage = stage
  }

  /** Performs a program in fresh directories, up to the first failure. `loose`: the times of files say nothing in it. */
  async play(program: readonly Op[], loose: boolean): Promise<Failure | undefined> {
    const { source, mounted, twin, sharesAlike } = this.#stage
    const take = `take-${this.#takes++}`
    const periods = new Periods(Date.now() / 1000 - 1)
    for (const tree of [source, twin]) {
      fs.mkdirSync(`${tree}/${take}/top`, { recursive: true })
      fs.chmodSync(`${tree}/${take}/top`, 0o777)
    }
    try {
      await this.#gather(take)
      return await new Take(this.#tested, this.#twins, periods, loose, sharesAlike, {
        source: `${source}/${take}`,
        mounted: `${mounted}/${take}`,
        twin: `${twin}/${take}`,
      }).play(program, (count) => {
        this.performed += count
      })
    } catch (error) {
      return { what: 'died', wanted: 'an answer', got: error instanceof Error ? error.message : String(error) }
    } finally {
      await this.#disperse()
      for (const tree of [source, twin]) fs.rmSync(`${tree}/${take}`, { recursive: true, force: true })
    }
  }

  [Symbol.dispose](): void {
    for (const performer of [...this.#tested, ...this.#twins]) performer.stop()
  }

  /** Sends everybody to their places; who died before is replaced. */
  async #gather(take: string): Promise<void> {
    const { source, mounted, twin, processes, users, belowProcesses, readOnly, closeToOpen, fault } = this.#stage
    const below = `${source}/${take}/top`
    const through = `${mounted}/${take}/top`
    const own = `${twin}/${take}/top`
    const sent: Promise<string>[] = []
    for (let i = 0; i < processes; i++) {
      const isBelow = i >= processes - belowProcesses
      this.#tested[i] = alive(this.#tested[i], userOf(i, users))
      this.#twins[i] = alive(this.#twins[i], userOf(i, users))
      sent.push(
        this.#tested[i]!.ask({
          do: 'begin',
          place: {
            root: isBelow || readOnly ? below : through,
            readRoot: isBelow ? below : through,
            isSplit: readOnly,
            isMixed: belowProcesses > 0,
            remembers: false,
            fault,
          },
          belowRoot: below,
        }),
        this.#twins[i]!.ask({
          do: 'begin',
          place: {
            root: own,
            readRoot: own,
            isSplit: readOnly,
            isMixed: belowProcesses > 0,
            remembers: closeToOpen && !isBelow,
            fault: '',
          },
          belowRoot: own,
        }),
      )
    }
    await Promise.all(sent)
  }

  /** Everybody closes what they have open, so that the trees can go. */
  async #disperse(): Promise<void> {
    const all = [...this.#tested, ...this.#twins].filter((performer) => !performer.isGone)
    await Promise.allSettled(all.map((performer) => performer.ask({ do: 'begin', place: AWAY, belowRoot: '/' })))
  }
}

function alive(performer: Performer | undefined, user: number): Performer {
  return performer === undefined || performer.isGone ? new Performer(user) : performer
}

/** One performance. */
class Take {
  readonly #tested: Performer[]
  readonly #twins: Performer[]
  readonly #sharesAlike: boolean
  readonly #trees: { source: string; mounted: string; twin: string }
  readonly #periods: Periods
  readonly #normalize: (text: string) => string

  constructor(
    tested: Performer[],
    twins: Performer[],
    periods: Periods,
    loose: boolean,
    sharesAlike: boolean,
    trees: { source: string; mounted: string; twin: string },
  ) {
    this.#tested = tested
    this.#sharesAlike = sharesAlike
    this.#twins = twins
    this.#periods = periods
    this.#trees = trees
    this.#normalize = (text) => withoutFifoTimes(this.#periods.normalize(loose ? withoutFileTimes(text) : text))
  }

  async play(program: readonly Op[], count: (performed: number) => void): Promise<Failure | undefined> {
    for (let start = 0; start < program.length; ) {
      const op = program[start]!
      let end = start + 1
      let failure: Failure | undefined
      if (op.call === 'tick') await this.#tick()
      else if (op.call === 'audit') failure = await this.#audit(op)
      else {
        // A turn: what one process does before it is another's.
        if (!isCopy(op))
          while (end < program.length && program[end]!.process === op.process && !isApart(program[end]!)) end++
        if (!isCopy(op) || (await this.#isCertain(op))) failure = await this.#turn(program.slice(start, end))
        count(end - start)
      }
      if (failure) return failure
      start = end
    }
    return this.#audit(undefined)
  }

  /** Whether a copy has one outcome. A reader may keep what it opened: where that has changed, other bytes are copied, and the trees stay different. */
  #isCertain(copy: Op): Promise<boolean> {
    return this.#twins[copy.process]!.ask<boolean>({ do: 'isAsOpened', slot: copy.args[0] as number })
  }

  async #turn(ops: readonly Op[]): Promise<Failure | undefined> {
    const order: Order = {
      do: 'run',
      ops: ops.map(({ call, args, below }) => ({ call, args, ...(below && { below }) })),
    }
    const process = ops[0]!.process
    const [got, wanted] = await Promise.all([
      this.#tested[process]!.ask<Outcome[]>(order),
      this.#twins[process]!.ask<Outcome[]>(order),
    ])
    const first = ops.findIndex((_, i) => !agrees(got[i]!, wanted[i]!, this.#normalize))
    if (first < 0) return undefined
    const op = ops[first]!
    const show = (outcome: Outcome) => this.#normalize(typeof outcome === 'string' ? outcome : outcome.join(' or '))
    return { op, what: op.call, wanted: show(wanted[first]!), got: show(got[first]!) }
  }

  async #tick(): Promise<void> {
    // Nothing gets a time between a coarse clock's tick before the end of the pause, and its beginning.
    const start = Date.now() / 1000
    await sleep(TICK_MS)
    this.#periods.begin(start + TICK_MS / 3000)
  }

  /** The trees as wholes: through the mount, the source itself, and what shares what. */
  async #audit(op: Op | undefined): Promise<Failure | undefined> {
    const { source, mounted, twin } = this.#trees
    const root = this.#twins[0]!
    const [seen, wanted] = await Promise.all([
      this.#tested[0]!.ask<string[]>({ do: 'audit', root: mounted, content: true }),
      root.ask<string[]>({ do: 'audit', root: twin, content: true }),
    ])
    const failure = this.#compare('tree through the mount', seen, wanted, op)
    if (failure !== undefined) return failure
    if (source !== mounted) {
      const below = await root.ask<string[]>({ do: 'audit', root: source, content: true })
      const failureBelow = this.#compare('tree below the mount', below, wanted, op)
      if (failureBelow !== undefined) return failureBelow
    }
    if (!this.#sharesAlike) return undefined
    const sharing = await root.ask<string[]>({ do: 'sharing', root: source })
    return this.#compare('sharing', sharing, await root.ask<string[]>({ do: 'sharing', root: twin }), op)
  }

  #compare(what: string, got: string[], wanted: string[], op: Op | undefined): Failure | undefined {
    const lines = difference(got.map(this.#normalize), wanted.map(this.#normalize))
    if (lines.length === 0) return undefined
    return {
      ...(op === undefined ? {} : { op }),
      what,
      wanted: lines.filter((line) => line.startsWith('-')).join('\n'),
      got: lines.filter((line) => line.startsWith('+')).join('\n'),
    }
  }
}

/** Is it no part of a longer turn? */
const isApart = (op: Op) => op.call === 'tick' || op.call === 'audit' || isCopy(op)

/** For people. */
export function printFailure(failure: Failure): string {
  const where = failure.op === undefined ? 'when all was done' : `after ${printOp(failure.op)}`
  return `${failure.what} differs ${where}\nwanted: ${failure.wanted}\ngot:    ${failure.got}`
}
