"""The critic's gradients are set to zero right before its own backward(), after the actor's."""
import torch
from torch import nn


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, state, action):
        return self.net(torch.cat([state, action], dim=1))


def reward(state, action):
    """Best is the action tanh(s0 - s1), sin(s2) / 2."""
    best = torch.stack([torch.tanh(state[:, 0] - state[:, 1]), torch.sin(state[:, 2]) / 2], dim=1)
    return 1 - (action - best).pow(2).sum(dim=1, keepdim=True)


def main():
    torch.manual_seed(0)
    test_states = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    actor = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2), nn.Tanh())
    critic = Critic()
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=0.002)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=0.005)
    mse = nn.MSELoss()

    for step in range(600):
        actor.train()
        critic.train()
        state = torch.randn(64, 3)
        with torch.no_grad():
            action = (actor(state) + 0.5 * torch.randn(64, 2)).clamp(-1, 1)
        target = reward(state, action)

        actor_optimizer.zero_grad()
        actor_loss = -critic(state, actor(state)).mean()
        actor_loss.backward()
        actor_optimizer.step()

        critic_optimizer.zero_grad()
        critic_loss = mse(critic(state, action), target)
        critic_loss.backward()
        critic_optimizer.step()
        if step % 100 == 99:
            actor.eval()
            with torch.no_grad():
                score = reward(test_states, actor(test_states)).mean().item()
            print(f"step {step + 1}: critic loss {critic_loss.item():.3f}, mean reward {score:.3f}")


if __name__ == "__main__":
    main()
