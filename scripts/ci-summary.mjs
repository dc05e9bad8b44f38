// Adds up the JSON reports of vitest: `node scripts/ci-summary.mjs REPORT…`. Lists what failed and what was skipped, and
// ends with the line `N passed, N failed, N skipped`. Fails where a test failed, where a report is missing, and where a
// test was skipped without naming the need that this machine cannot meet (see test/support/requires.ts).
import fs from 'node:fs'
import path from 'node:path'

/** @typedef {{ fullName: string, status: string }} Test */

const counts = { passed: 0, failed: 0, skipped: 0 }
let sound = true

for (const report of process.argv.slice(2)) {
  if (!fs.existsSync(report)) {
    complain(`no report ${path.basename(report)}: its run did not come to its end`)
    continue
  }
  const tests = testsOf(JSON.parse(fs.readFileSync(report, 'utf8')))
  if (tests.length === 0) complain(`${path.basename(report)}: no test ran`)
  for (const test of tests) count(test)
}

console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
process.exit(sound && counts.failed === 0 ? 0 : 1)

/** @param {any} report @returns {Test[]} */
function testsOf(report) {
  return report.testResults.flatMap((/** @type {any} */ file) => {
    const name = path.relative(process.cwd(), file.name)
    // A file that could not be loaded has no tests; it counts as one that failed.
    if (file.status === 'failed' && file.assertionResults.length === 0) return { fullName: name, status: 'failed' }
    return file.assertionResults.map((/** @type {Test} */ test) => ({ ...test, fullName: `${name}: ${test.fullName}` }))
  })
}

/** @param {Test} test */
function count({ fullName, status }) {
  if (status === 'passed') counts.passed++
  else if (status === 'failed') {
    counts.failed++
    console.log(`failed: ${fullName}`)
  } else {
    counts.skipped++
    if (fullName.includes('[needs ')) console.log(`skipped: ${fullName}`)
    else complain(`skipped without a need: ${fullName}`)
  }
}

/** @param {string} text */
function complain(text) {
  sound = false
  console.log(text)
}
