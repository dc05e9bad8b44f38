/** The simulation of recall with one step of the protocol between a mount and attached caches missing: what each of them is there for. */
import { instead, type Mutant, without } from './mutating.ts'

const CACHES = 'daemon/grants/attached-caches'
const HOLDING = 'daemon/grants/holding'
const HOLDINGS = 'daemon/grants/holdings'
const TURNS = 'daemon/grants/turns'
const CLIENT = 'exclusive/grant-client'
const LEASES = 'library/attached/leases'
const ATTENDANCE = 'library/attached/attendance'
const PASSAGES = 'library/grants/passages'

export const RECALL_MUTANTS: readonly Mutant[] = [
  // ---- the mount asks, and waits
  instead(
    'nobody is asked',
    CACHES,
    'recall.ask(this.#files.get(range.key)?.attendants ?? [], patienceMs)',
    'recall.ask([])',
  ),
  without('nobody is waited for', CACHES, 'this.#waited.add(attendant)'),
  instead('who does not answer is overruled', HOLDING, 'if (unheard.length > 0) return', 'if (false) return'),
  instead(
    'who does not answer is overruled when it is published',
    HOLDING,
    'if (unheard.length > 0 && !this.#isEnded)',
    'if (false)',
  ),
  instead('readers are not asked before it is published', HOLDING, 'await this.#recall.askReaders()', '[]'),
  instead(
    'who is gone is waited for',
    CACHES,
    'this.#told.delete(attendant); this.#waited.delete(attendant)',
    'this.#told.delete(attendant)',
  ),
  without(
    'who opens the file while it is granted is not told',
    CACHES,
    'if (recall.range.key === shown.key) recall.tell(attendant)',
  ),
  without('nobody is told that it has ended', CACHES, "connection.send({ type: 'restore', id: this.id })"),
  without('a recall that is not forgotten', CACHES, 'this.#ended()'),
  instead('who is cut off is taken for gone', 'sim/recall/wire', 'if (!this.isCaching)', 'if (true)'),

  // ---- from the answer on, what waits for nobody is refused
  instead('what comes after the answer is let in', TURNS, 'this.#holdings.keepsOut(touch, holder)', 'false'),
  instead('requests in hand when it is granted', HOLDING, 'await answered(); const inTheWay', 'const inTheWay'),
  instead(
    'requests in hand when it is published',
    HOLDING,
    'await answered(); this.#isPublishing',
    'this.#isPublishing',
  ),

  // ---- what a message is about
  without('a file that is shown while another is asked for', HOLDINGS, 'connection.catchUp()'),
  instead('a wish that is taken back when it is granted', CLIENT, 'signal?.aborted === true', 'false'),

  // ---- the cache gives it up
  instead(
    'what is cached stays',
    LEASES,
    "if (readers === 'wait') recalled.letIn ??=",
    'if (false) recalled.letIn ??=',
  ),
  instead('what is cached stays when nobody tells', LEASES, 'for (const file of files)', 'for (const file of [])'),
  without('who is let in when nobody tells', LEASES, 'this.#isLost = true'),
  instead('who waits is not woken', LEASES, 'this.#letIn(recalled); recalled.endWait()', 'this.#letIn(recalled)'),
  instead('who waits is not woken when the file is closed', ATTENDANCE, 'this.#leases.left(key)', ''),
  instead('an answer before anything is given up', ATTENDANCE, 'if (key !== undefined)', 'if (false)'),
  without('no answer', ATTENDANCE, 'this.#client.recalled(message)'),
  without('a file that is opened before it is attended', ATTENDANCE, 'await attended.ready'),
  instead(
    'who opens a file that a cache attends is passed through',
    CACHES,
    'this.#records.addFile(shown.number)',
    'true',
  ),
  instead(
    'a file that is not attended though it is open',
    ATTENDANCE,
    '--attended.users > 0',
    '--attended.users > Infinity',
  ),
  instead('what is refused is not made again', PASSAGES, '!this.isRefused', 'true'),
]
