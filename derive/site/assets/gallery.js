// The gallery's filters: a cell is shown if it has every trait that is pressed, and is of the family that is chosen.
(() => {
    const filters = document.querySelector('.filters');
    const buttons = [...filters.querySelectorAll('button')];
    const family = filters.querySelector('select');
    const lists = [...document.querySelectorAll('ul.gallery')];
    const pressed = button => button.getAttribute('aria-pressed') === 'true';

    const show = () => {
        const wanted = buttons.filter(pressed).map(button => button.dataset.trait);
        let seen = 0, all = 0;
        for (const list of lists) {
            const within = !family.value || list.dataset.family === family.value;
            const cards = [...list.children];
            for (const card of cards) {
                const has = card.dataset.traits.split(' ');
                card.hidden = !within || !wanted.every(trait => has.includes(trait));
            }
            const left = cards.filter(card => !card.hidden).length;
            list.hidden = list.previousElementSibling.hidden = left === 0; // its heading too
            seen += left;
            all += cards.length;
        }
        filters.querySelector('[role=status]').textContent = `${seen} of ${all} cells`;
    };

    for (const button of buttons) {
        button.addEventListener('click', () => {
            button.setAttribute('aria-pressed', !pressed(button));
            show();
        });
    }
    family.addEventListener('change', show);
    filters.hidden = false;
    show();
})();
