// In the page: fetches orders from browser.js, and posts the answers.
/* global Gun, interop, peers */
'use strict'

const gun = Gun({ peers })
const table = interop.commands(Gun, Gun.SEA, gun)
const post = line => fetch('/answer', { method: 'POST', body: JSON.stringify(line) })

async function serve () {
  await post({ id: 0, answer: true })
  for (;;) {
    const orders = await (await fetch('/orders')).json()
    for (const order of orders) interop.obey(table, order).then(post)
  }
}
serve()
