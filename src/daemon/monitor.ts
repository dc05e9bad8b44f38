/**
 * The monitor thread: sees to it that one slow request never holds up the rest, that there are as many workers as there
 * is work (see crew.ts for the rules), and, as the watchdog, that no client waits for ever: where every worker is stuck in
 * its request, or the keeper answers no more, it aborts the connection, and all who wait get an error. It sleeps when nobody works.
 */
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { workerData } from 'node:worker_threads'
import { exitNow } from '../linux/native.ts'
import { Crew, WORKER_STATE } from './crew.ts'
import { abortConnection, type MountIdentity } from './mounting.ts'

export interface MonitorStart {
  readonly crew: SharedArrayBuffer
  /** Workers that may be busy at once for the sake of speed; more come in only where these are stuck. */
  readonly parallel: number
  /** After so long without any progress the connection is aborted; 0: never. */
  readonly hangMs: number
  readonly mount: MountIdentity
}

const TICK_MS = 1
/** While one worker keeps up with all there is: each tick takes processor time from it. */
const CALM_TICK_MS = 5
/** Ticks for which it is watched closely after it did not keep up. */
const UNEASY_TICKS = 100
/** Ticks for which all must be stuck in a request: for less, a worker may only have waited for a processor. */
const STUCK_TICKS = 2
/** Ticks without a pause after which a crew counts as having too much to do. */
const LOADED_TICKS = 8
/** Ticks without work after which the monitor sleeps. */
const QUIET_TICKS = 100

/** More than a tick or a sleep takes: what goes beyond, this thread did not run. */
const TICK_MS_MAX = 1100

const { crew: buffer, parallel, hangMs, mount } = workerData as MonitorStart
const crew = new Crew(buffer)
const servedBefore = new Array<number>(crew.size).fill(0)
let loaded = 0
let stuckTicks = 0
let quiet = 0
let uneasy = 0
/**
 * Milliseconds for which this thread was there to watch: a process that was stopped for a while (a frozen container, SIGSTOP)
 * is not hung when it goes on.
 */
let watched = 0
let tickedAt = performance.now()
let progressAt = 0

for (;;) {
  let receiving = 0
  let parked = 0
  let gone = 0
  let stuck = 0
  let busy = 0
  for (let w = 0; w < crew.size; w++) {
    const state = crew.state(w)
    const served = crew.served(w)
    if (state === WORKER_STATE.RECEIVING) receiving++
    else if (state === WORKER_STATE.PARKED) parked++
    else if (state === WORKER_STATE.GONE) gone++
    else {
      busy++
      if (served === servedBefore[w]) stuck++
    }
    servedBefore[w] = served
  }
  loaded = receiving === 0 && busy > 0 ? loaded + 1 : 0
  quiet = busy === 0 ? quiet + 1 : 0
  stuckTicks = receiving === 0 && stuck === busy ? stuckTicks + 1 : 0
  if (stuckTicks >= STUCK_TICKS) crew.callAnyIn()
  else if (loaded >= LOADED_TICKS && busy < parallel) {
    crew.callAnyIn()
    loaded = 0
  }
  uneasy = stuck > 0 || crew.workersIn > 1 ? UNEASY_TICKS : Math.max(0, uneasy - 1)
  watch(stuck === crew.size - gone && parked === 0)
  crew.sleep(uneasy > 0 ? TICK_MS : CALM_TICK_MS, quiet >= QUIET_TICKS)
  if (quiet >= QUIET_TICKS) quiet = QUIET_TICKS - 1
}

function watch(allStuck: boolean): void {
  const now = performance.now()
  watched += Math.min(now - tickedAt, TICK_MS_MAX)
  tickedAt = now
  if (!allStuck && crew.keeperAnswers(watched, hangMs)) progressAt = watched
  if (hangMs === 0 || watched - progressAt < hangMs) return
  // Not process.stderr: that of a thread is written by the main one, which does not get to it any more.
  fs.writeSync(2, `samepage: no request has made progress for ${Math.round(hangMs / 1000)} s: the mount is given up\n`)
  // Without the privilege the end of this process must do, as far as its threads can be ended.
  abortConnection(mount)
  exitNow(1)
}
