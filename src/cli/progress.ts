/** A line on stderr while something lasts, if that is a terminal. */
import type { WriteStream } from 'node:tty'
import { SingleBar } from 'cli-progress'
import stringWidth from 'string-width'
import { formatBytes, formatCount, formatSeconds } from '../util/human.ts'

export interface Progress {
  /** `total` of 0: nobody knows. */
  update(done: number, total: number, remark: string): void
  stop(): void
}

/** Whether a line there can be cleared and written anew. */
export const canRewrite = (stream: WriteStream): boolean => stream.isTTY === true && process.env.TERM !== 'dumb'

/** `verb`: what is being done, `walking`. */
export function progress(verb: string, unit: 'files' | 'bytes', isShown = true): Progress {
  if (!isShown || !canRewrite(process.stderr)) return { update: () => {}, stop: () => {} }
  const started = performance.now()
  const describe = (count: number) => (unit === 'bytes' ? formatBytes(count) : `${formatCount(count)} files`)
  const bar = new SingleBar({
    stream: process.stderr,
    clearOnComplete: true,
    // Ctrl-C ends the process at once, or is our business: a handler of the bar's would wait for the end of a walk.
    gracefulExit: false,
    linewrap: true,
    format: (_options, { value, total, progress: share }, { remark }: { remark: string }) => {
      const seconds = (performance.now() - started) / 1000
      const rate = value / Math.max(seconds, 1e-3)
      const known = total > 0 && value > 0
      const head = known
        ? `${verb} ${filled(share)} ${describe(value)} of ${describe(total)}, ${describe(rate)}/s, ${formatSeconds((total - value) / rate)} left`
        : `${verb} ${describe(value)}, ${describe(rate)}/s `
      // A line that wraps could not be cleared.
      return cutToWidth(`${head} ${remark}`, (process.stderr.columns || 80) - 1)
    },
  })
  bar.start(0, 0, { remark: '' })
  return {
    update(done, total, remark) {
      bar.setTotal(total)
      bar.update(done, { remark })
    },
    stop: () => bar.stop(),
  }
}

const graphemes = new Intl.Segmenter()

/** As much of `text` as a terminal shows in `columns`; a character of Chinese, Japanese or Korean takes two. */
export function cutToWidth(text: string, columns: number): string {
  let shown = ''
  let width = 0
  for (const { segment } of graphemes.segment(text)) {
    width += stringWidth(segment)
    if (width > columns) break
    shown += segment
  }
  return shown
}

function filled(share: number): string {
  const width = 24
  const done = Math.round(Math.min(1, share) * width)
  return '█'.repeat(done) + '░'.repeat(width - done)
}
