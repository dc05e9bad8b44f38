import { defineConfig } from 'vitest/config'

const minute = 60_000
const WATCHDOG = 'test/support/watchdog.ts'

/** One group after the other: what counts cached pages or times anything wants the machine for itself. */
const groupOrder = { unit: 0, sim: 1, package: 2, system: 3, guest: 4 }

export default defineConfig({
  test: {
    // .ci/run reads the report, and a log is easier to search with one line for each test.
    reporters: process.env.SAMEPAGE_TEST_REPORT
      ? ['verbose', ['json', { outputFile: process.env.SAMEPAGE_TEST_REPORT }]]
      : ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          setupFiles: WATCHDOG,
          include: ['test/unit/**/*.test.ts'],
          sequence: { groupOrder: groupOrder.unit },
          testTimeout: minute,
        },
      },
      {
        test: {
          name: 'sim',
          setupFiles: WATCHDOG,
          include: ['test/sim/**/*.test.ts'],
          sequence: { groupOrder: groupOrder.sim },
          testTimeout: 10 * minute,
        },
      },
      {
        // npm pack, an installation elsewhere, and the checks of its types.
        test: {
          name: 'package',
          setupFiles: WATCHDOG,
          include: ['test/package/**/*.test.ts'],
          sequence: { groupOrder: groupOrder.package },
          testTimeout: 5 * minute,
          hookTimeout: 5 * minute,
        },
      },
      {
        // One virtual machine at a time: `npm run test:guest`.
        test: {
          name: 'guest',
          setupFiles: WATCHDOG,
          fileParallelism: false,
          include: ['test/guest/**/*.test.ts'],
          sequence: { groupOrder: groupOrder.guest },
        },
      },
      {
        // Loop devices, mounts, signals: one file after the other, each in a process of its own.
        test: {
          name: 'system',
          setupFiles: WATCHDOG,
          include: ['test/system/**/*.test.ts'],
          sequence: { groupOrder: groupOrder.system },
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 5 * minute,
          hookTimeout: 5 * minute,
        },
      },
    ],
  },
})
